//! The schema that policies and requests are held against.

use cedar_policy::ffi::DetailedError;
use cedar_policy::{
    Entities, EntityTypeName, EntityUid, Policy as Statement, PolicySet, Schema as Declarations,
    ValidationMode, ValidationWarning, Validator, schema_str_to_json_with_resolved_types,
};
use kest_core::error::PolicyUnavailable;
use kest_core::policy::PolicyInput;
use serde_json::{Map, Value};

use super::asked::Wanted;
use super::set::Types;
use super::statements::place;
use super::{Source, paths, reads, refuse};
use crate::policy::cedar_form::{self, CedarValue};

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
        if let Some(fault) = members.iter().find_map(|(key, _)| paths::fault_of_key(key)) {
            return Err(refuse(format!(
                "`{}` cannot be used: `{}` declares for the context of `{action}` what is never there: {fault}",
                source.file, self.file
            )));
        }
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
        let Some(shape) = self.shape(action) else { return self.form.get("").map(|_| Vec::new()) };
        let members = self.record(shape)?.iter();
        Some(members.map(|(key, member)| (key.clone(), required(member))).collect())
    }

    /// The declared form of an action's context, if it has one.
    fn shape(&self, action: &str) -> Option<&Value> {
        // Actions of ours are in the empty namespace.
        self.form.get("")?.get("actions")?.get(action)?.get("appliesTo")?.get("context")
    }

    fn record<'a>(&'a self, shape: &'a Value) -> Option<&'a Map<String, Value>> {
        let (kind, shape) = self.resolved(shape)?;
        shape.get("attributes").filter(|_| kind == "Record")?.as_object()
    }

    /// What a declaration is, and where it says so: a declared name stands for a type, or for another name.
    fn resolved<'a>(&'a self, mut shape: &'a Value) -> Option<(&'a str, &'a Value)> {
        // The library refuses circles.
        loop {
            let kind = shape.get("type")?.as_str()?;
            let name = if matches!(kind, "EntityOrCommon" | "CommonType") {
                shape.get("name")?.as_str()?
            } else {
                kind
            };
            let (namespace, short) = name.rsplit_once("::").unwrap_or(("", name));
            let common = self.form.get(namespace).and_then(|it| it.get("commonTypes")?.get(short));
            match common {
                Some(common) => shape = common,
                None => return Some((short, shape)),
            }
        }
    }

    /// The first member of an input that is not as it is declared for the action, as the end of a message.
    pub(super) fn misfit(&self, action: &EntityUid, input: &PolicyInput<'_>) -> Option<String> {
        let declared = self.record(self.shape(action.id().unescaped())?)?;
        declared.iter().find_map(|(key, shape)| {
            let value = cedar_form::attribute(input, key).ok()??;
            self.unlike(&value, shape, key)
        })
    }

    /// Whether an entity may have this id: a type may list those that there are.
    pub(super) fn lists(&self, ty: &EntityTypeName, id: &str) -> bool {
        let (namespace, name) = (ty.namespace(), ty.basename());
        let of_type = self
            .form
            .get(&namespace)
            .and_then(|it| it.get("entityTypes")?.get(name)?.get("enum")?.as_array());
        of_type.is_none_or(|all| all.iter().any(|listed| listed.as_str() == Some(id)))
    }

    fn unlike(&self, value: &CedarValue<'_>, shape: &Value, path: &str) -> Option<String> {
        let (kind, shape) = self.resolved(shape)?;
        match (value, kind) {
            (CedarValue::Bool(_), "Boolean" | "Bool")
            | (CedarValue::Long(_), "Long")
            | (CedarValue::String(_), "String") => None,
            (CedarValue::Set(items), "Set") => {
                let of = shape.get("element")?;
                items.iter().find_map(|item| self.unlike(item, of, path))
            }
            (CedarValue::Record(members), "Record") => {
                let declared = shape.get("attributes")?.as_object()?;
                let below = |name: &str| format!("{path}.{name}");
                let lacks = |(name, member): (&String, &Value)| {
                    let lacks = required(member) && !members.contains_key(name.as_str());
                    lacks.then(|| format!("`{}` is missing; declare it optional", below(name).escape_debug()))
                };
                let wrong = members.iter().find_map(|(name, value)| match declared.get(&**name) {
                    Some(shape) => self.unlike(value, shape, &below(name)),
                    None => Some(format!("`{}` is not declared", below(name).escape_debug())),
                });
                wrong.or_else(|| declared.iter().find_map(lacks))
            }
            (_, kind) => Some(format!("`{}` is not of the type `{kind}`, as declared", path.escape_debug())),
        }
    }
}

fn required(member: &Value) -> bool {
    member.get("required").and_then(Value::as_bool).unwrap_or(true)
}
