//! One consistent set of policies: parsed and checked together, then never changed.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cedar_policy::{
    AuthorizationError, Authorizer, Decision as Answer, Entities, EntityTypeName, EvaluationError, Request,
    Response,
};
use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::policy::{Decision, PolicyInput};

use super::asked::Asked;
use super::policy::Policy;
use super::schema::Schema;
use super::{STACK, Source, refuse};
use crate::policy::cedar_form;

/// Policies by name, and what evaluates them.
pub(in crate::policy) struct Set {
    policies: HashMap<Box<str>, Policy>,
    authorizer: Authorizer,
    types: Types,
    /// The hierarchy of actions, if a schema has one. Nothing else is known of entities.
    entities: Entities,
    schema: Option<Schema>,
}

/// The names of the types of entities, read once.
pub(super) struct Types {
    pub(super) principal: EntityTypeName,
    pub(super) action: EntityTypeName,
    pub(super) resource: EntityTypeName,
}

impl Set {
    pub(super) fn build(sources: &[Source], schema: Option<&Source>) -> Result<Self, PolicyUnavailable> {
        if sources.is_empty() {
            return Err(refuse("no policy is given; name a folder or a source"));
        }
        let types = Types::named()?;
        let schema = schema.map(Schema::read).transpose()?;
        let entities = schema.as_ref().map_or_else(|| Ok(Entities::empty()), Schema::actions)?;
        let mut policies = HashMap::with_capacity(sources.len());
        for source in sources {
            let policy = Policy::read(source, &types, &entities, schema.as_ref())?;
            if policies.insert(source.name.as_str().into(), policy).is_some() {
                return Err(refuse(format!("policy `{}` is given twice; leave one", source.name)));
            }
        }
        Ok(Self { policies, authorizer: Authorizer::new(), types, entities, schema })
    }

    pub(super) fn get(&self, name: &str) -> Option<&Policy> {
        self.policies.get(name)
    }

    /// All names, sorted.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.policies.keys().map(|name| &**name).collect();
        names.sort_unstable();
        names
    }

    /// The decision of one policy.
    pub(super) fn decide(
        &self,
        policy: &Policy,
        input: &PolicyInput<'_>,
    ) -> Result<Decision, PolicyUnavailable> {
        let failed = |cause: &dyn std::fmt::Display| {
            PolicyUnavailable::new(
                PolicyErrorKind::Evaluation,
                format!("policy `{}` failed: {cause}", policy.file),
            )
        };
        let response = catch_unwind(AssertUnwindSafe(|| self.respond(policy, input)))
            .unwrap_or_else(|_| Err(failed(&"the evaluator panicked")))?;
        // The language skips what fails, a `forbid` too.
        if let Some(error) = response.diagnostics().errors().next() {
            return Err(failed(error).with_source(error.clone()));
        }
        match response.decision() {
            Answer::Allow => Ok(Decision::Allow { digest: Some(Arc::clone(&policy.digest)) }),
            Answer::Deny => Ok(Decision::Deny { reason: policy.why(&response) }),
        }
    }

    /// What of an input the schema does not take, as the end of a message.
    fn misfit(&self, policy: &Policy, input: &PolicyInput<'_>) -> String {
        let Types { principal, resource, .. } = &self.types;
        let schema = self.schema.as_ref();
        let asked = [
            ("principal", principal, cedar_form::principal(input)),
            ("resource", resource, cedar_form::resource(input)),
        ];
        let listed = |ty, id| schema.is_none_or(|schema| schema.lists(ty, id));
        if let Some((whose, ty, _)) = asked.into_iter().find(|(_, ty, id)| !listed(ty, id)) {
            return format!("the {whose} is none of the `{ty}` entities that it lists");
        }
        let found = policy.wanted.missing(input);
        let found = found.or_else(|| schema?.misfit(&policy.action, input));
        found.unwrap_or_else(|| "it has another type than declared".to_owned())
    }

    fn respond(&self, policy: &Policy, input: &PolicyInput<'_>) -> Result<Response, PolicyUnavailable> {
        let asked = input.shared(|| Asked::of(input, &self.types));
        let (principal, resource, context) = asked.request(input, &policy.wanted)?;
        let checker = self.schema.as_ref().map(Schema::checker);
        let request = Request::new(principal, policy.action.clone(), resource, context, checker)
            // The error's own text shows the whole context.
            .map_err(|_| {
                let (file, hint) = (&policy.file, self.misfit(policy, input));
                PolicyUnavailable::new(
                    PolicyErrorKind::Input,
                    format!("the input does not fit the schema of policy `{file}`: {hint}"),
                )
            })?;
        let answer = || self.authorizer.is_authorized(&request, &policy.statements, &self.entities);
        let response = answer();
        // The evaluator gives up where little of the caller's stack is left.
        Ok(if gave_up(&response) { stacker::grow(STACK, answer) } else { response })
    }
}

fn gave_up(response: &Response) -> bool {
    response.diagnostics().errors().any(|AuthorizationError::PolicyEvaluationError(error)| {
        matches!(error.inner(), EvaluationError::RecursionLimit(_))
    })
}

impl Types {
    pub(super) fn named() -> Result<Self, PolicyUnavailable> {
        let named = |name: &str| {
            name.parse().map_err(|error: cedar_policy::ParseErrors| {
                refuse(format!("`{name}` is no type of Cedar")).with_source(error)
            })
        };
        Ok(Self {
            principal: named(cedar_form::PRINCIPAL)?,
            action: named(cedar_form::ACTION)?,
            resource: named(cedar_form::RESOURCE)?,
        })
    }
}
