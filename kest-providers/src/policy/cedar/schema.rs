//! The schema that policies and requests are held against.

use cedar_policy::ffi::DetailedError;
use cedar_policy::{
    Entities, EntityUid, Policy as Statement, PolicySet, Schema as Declarations, ValidationMode,
    ValidationWarning, Validator, schema_str_to_json_with_resolved_types,
};
use kest_core::error::PolicyUnavailable;
use serde_json::Value;

use super::asked::Wanted;
use super::reads;
use super::set::Types;
use super::statements::place;
use super::{Source, refuse};

pub(super) struct Schema {
    file: String,
    validator: Validator,
    /// The same in Cedar's JSON form of schemas.
    form: Value,
}

impl Schema {
    pub(super) fn read(source: &Source) -> Result<Self, PolicyUnavailable> {
        let failed = |error: cedar_policy::CedarSchemaError| {
            refuse(format!("{}: {error}", place(source, &DetailedError::from(&error)))).with_source(error)
        };
        let (declarations, warnings) = Declarations::from_cedarschema_str(&source.text).map_err(failed)?;
        for warning in warnings {
            tracing::warn!(target: "kest", "policy schema `{}`: {warning}", source.file);
        }
        let (form, _) = schema_str_to_json_with_resolved_types(&source.text).map_err(failed)?;
        Ok(Self { file: source.file.clone(), validator: Validator::new(declarations), form })
    }

    /// The hierarchy of actions.
    pub(super) fn actions(&self) -> Result<Entities, PolicyUnavailable> {
        self.checker()
            .action_entities()
            .map_err(|error| refuse(format!("`{}` cannot be used: {error}", self.file)).with_source(error))
    }

    /// What requests are validated against.
    pub(super) fn checker(&self) -> &Declarations {
        self.validator.schema()
    }

    /// Holds the statements of one file, the action's, against the schema. What they are to be given of the context is
    /// what it declares.
    pub(super) fn check(
        &self,
        statements: &[Statement],
        set: &PolicySet,
        action: &EntityUid,
        types: &Types,
        source: &Source,
    ) -> Result<Wanted, PolicyUnavailable> {
        let result = self.validator.validate(set, ValidationMode::Strict);
        if let Some(error) = result.validation_errors().next() {
            let error = error.clone();
            let place = place(source, &DetailedError::from(&error));
            return Err(refuse(format!("{place}: {error} (schema `{}`)", self.file)).with_source(error));
        }
        let members = self.declared(action, types, &source.file)?;
        statements.iter().try_for_each(|statement| self.check_reads(statement, &members))?;
        for warning in result.validation_warnings() {
            let place = place(source, &warning.into());
            // A statement that never applies: for a `forbid` that means that it forbids nothing.
            if matches!(
                warning,
                ValidationWarning::ImpossiblePolicy(_) | ValidationWarning::InvalidActionApplication(_)
            ) {
                return Err(refuse(format!("{place}: {warning} (schema `{}`)", self.file))
                    .with_source(warning.clone()));
            }
            tracing::warn!(target: "kest", "policy file {place}: {warning}");
        }
        Ok(Wanted::declared(members))
    }

    /// To a statement what is not declared would be missing, in every call.
    fn check_reads(
        &self,
        statement: &Statement,
        declared: &[(String, bool)],
    ) -> Result<(), PolicyUnavailable> {
        let (place, schema) = (statement.id(), &self.file);
        let Some(read) = reads::members(statement)? else {
            return Err(refuse(format!(
                "{place}: the policy uses the whole `context`, of which it is given what `{schema}` declares; \
                 read single members"
            )));
        };
        match read.iter().find(|read| declared.iter().all(|(key, _)| key != *read)) {
            Some(key) => Err(refuse(format!(
                "{place}: `{key}` of the context is not declared in `{schema}`; declare it optional"
            ))),
            None => Ok(()),
        }
    }

    /// The members of an action's context, with whether each is required.
    fn declared(
        &self,
        action: &EntityUid,
        types: &Types,
        file: &str,
    ) -> Result<Vec<(String, bool)>, PolicyUnavailable> {
        let checker = self.checker();
        let principal =
            checker.principals_for_action(action).is_some_and(|mut all| all.any(|it| *it == types.principal));
        let resource =
            checker.resources_for_action(action).is_some_and(|mut all| all.any(|it| *it == types.resource));
        if !principal || !resource {
            let (schema, principal, resource) = (&self.file, &types.principal, &types.resource);
            return Err(refuse(format!(
                "`{file}` cannot be used: `{schema}` has no `{action}` for a `{principal}` and a `{resource}`; \
                 declare it"
            )));
        }
        self.context(action.id().unescaped()).ok_or_else(|| {
            refuse(format!(
                "`{file}` cannot be used: the context of `{action}` in `{}` is no record",
                self.file
            ))
        })
    }

    fn context(&self, action: &str) -> Option<Vec<(String, bool)>> {
        // Actions of ours are in the empty namespace.
        let here = self.form.get("")?;
        let Some(mut shape) = here.get("actions")?.get(action)?.get("appliesTo")?.get("context") else {
            return Some(Vec::new());
        };
        // A declared name stands for a record, or for another name. The library refuses circles.
        loop {
            let kind = shape.get("type")?.as_str()?;
            if kind == "Record" {
                break;
            }
            let name = if matches!(kind, "EntityOrCommon" | "CommonType") {
                shape.get("name")?.as_str()?
            } else {
                kind
            };
            let (namespace, name) = name.rsplit_once("::").unwrap_or(("", name));
            shape = self.form.get(namespace)?.get("commonTypes")?.get(name)?;
        }
        let members = shape.get("attributes")?.as_object()?.iter();
        let required = |member: &Value| member.get("required").and_then(Value::as_bool).unwrap_or(true);
        Some(members.map(|(key, member)| (key.clone(), required(member))).collect())
    }
}
