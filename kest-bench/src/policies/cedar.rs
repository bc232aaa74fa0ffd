//! Cedar in the process, beside `is_authorized` of requests that are built from types, in each call.

use std::str::FromStr;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, EntityId, EntityTypeName, EntityUid, PolicySet, Request,
    RestrictedExpression,
};
use kest::policy::{CedarEngine, InputDocument};

use super::{CALLS, Text, asked, in_turns};
use crate::Result;
use crate::report::Report;

pub(super) fn measure(report: &mut Report, input: &InputDocument, rounds: usize) -> Result<()> {
    for (call, texts) in CALLS {
        let name = format!("policy/cedar/{call}");
        if !report.wants(&name) {
            continue;
        }
        let engine = CedarEngine::from_sources(texts.iter().map(|text| (text.name, text.cedar)))?;
        let library = Library::new(texts)?;
        let (authorizer, entities) = (Authorizer::new(), Entities::empty());
        let floor = || {
            let (principal, resource, context) = library.call()?;
            for (action, policies) in &library.policies {
                let (principal, resource) = (principal.clone(), resource.clone());
                let request = Request::new(principal, action.clone(), resource, context.clone(), None)?;
                let response = authorizer.is_authorized(&request, policies, &entities);
                if response.decision() != Decision::Allow {
                    return Err("cedar-policy itself denies".into());
                }
            }
            Ok(())
        };
        report.add(in_turns(name, texts.len(), rounds, || asked(&engine, input, texts), floor)?)?;
    }
    Ok(())
}

/// What is ready before a call.
struct Library {
    principal: EntityTypeName,
    resource: EntityTypeName,
    policies: Vec<(EntityUid, PolicySet)>,
    /// Of the context, what the policies of the call read and no more.
    members: Vec<(&'static str, Typed)>,
}

#[derive(Clone, Copy)]
enum Typed {
    Long(i64),
    Text(&'static str),
}

impl Library {
    fn new(texts: &[Text]) -> Result<Self> {
        let action = EntityTypeName::from_str("Action")?;
        let ready = |text: &Text| {
            let action = EntityUid::from_type_name_and_id(action.clone(), EntityId::new(text.name));
            Ok((action, PolicySet::from_str(text.cedar)?))
        };
        let members = |text: &Text| match text.name {
            "trusted" => vec![("trust_score", Typed::Long(40))],
            "clerk" => vec![("subject.user.role", Typed::Text("clerk"))],
            _ => vec![
                ("object.attributes.amount", Typed::Long(4_200)),
                ("environment.source_type", Typed::Text("user_input")),
            ],
        };
        Ok(Self {
            principal: EntityTypeName::from_str("Workload")?,
            resource: EntityTypeName::from_str("Resource")?,
            policies: texts.iter().map(ready).collect::<Result<_>>()?,
            members: texts.iter().flat_map(members).collect(),
        })
    }

    /// What is made once for all policies of a call: principal, resource, context.
    fn call(&self) -> Result<(EntityUid, EntityUid, Context)> {
        let uid =
            |kind: &EntityTypeName, id| EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id));
        let members = self.members.iter().map(|(name, value)| {
            let value = match value {
                Typed::Long(long) => RestrictedExpression::new_long(*long),
                Typed::Text(text) => RestrictedExpression::new_string((*text).to_owned()),
            };
            ((*name).to_owned(), value)
        });
        let context = Context::from_pairs(members)?;
        let principal = uid(&self.principal, "spiffe://example.org/shop/orders");
        Ok((principal, uid(&self.resource, "order-17"), context))
    }
}
