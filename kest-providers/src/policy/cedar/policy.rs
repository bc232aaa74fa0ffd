//! One policy: what its file holds, checked.

use std::collections::BTreeSet;
use std::sync::Arc;

use cedar_policy::{
    Effect, Entities, EntityId, EntityUid, ParseErrors, Policy as Statement, PolicyId, PolicySet, Response,
};
use kest_core::error::PolicyUnavailable;
use sha2::{Digest, Sha256};

use super::asked::Wanted;
use super::conditions::conditions;
use super::reads::reads;
use super::schema::Schema;
use super::scope::Scope;
use super::set::Types;
use super::statements::{check_nesting, lines, place};
use super::{Source, hierarchy, paths, refuse};
use crate::policy::reason::bounded;

/// A policy of the set: all statements of its file.
pub(super) struct Policy {
    pub(super) file: String,
    pub(super) digest: Arc<str>,
    pub(super) action: EntityUid,
    pub(super) statements: PolicySet,
    /// What is given of the context: what the statements read, or what the schema declares.
    pub(super) wanted: Wanted,
    /// Every `forbid` with a reason, in the order of the file.
    forbids: Vec<(PolicyId, String)>,
    /// The reason when no `permit` holds.
    no_permit: Option<String>,
}

impl Policy {
    pub(super) fn read(
        source: &Source,
        types: &Types,
        entities: &Entities,
        schema: Option<&Schema>,
    ) -> Result<Self, PolicyUnavailable> {
        let file = &source.file;
        let action = EntityUid::from_type_name_and_id(types.action.clone(), EntityId::new(&source.name));
        let statements = statements(source)?;
        let scope = Scope { types, action: &action, entities };
        for statement in &statements {
            scope.check(statement)?;
            let fault = |condition| hierarchy::fault(condition, &scope).or_else(|| paths::fault(condition));
            if let Some(fault) = conditions(statement)?.iter().find_map(fault) {
                return Err(refuse(format!("{}: {fault}", statement.id())));
            }
        }
        let mut set = PolicySet::new();
        for statement in &statements {
            set.add(statement.clone())
                .map_err(|error| refuse(format!("`{file}` cannot be used: {error}")).with_source(error))?;
        }
        let wanted = match schema {
            None => reads(&statements)?,
            Some(schema) => schema.check(&statements, &set, &action, types, source)?,
        };
        let said = |effect: Effect| {
            let of = statements.iter().filter(move |statement| statement.effect() == effect);
            of.filter_map(|statement| Some((statement.id().clone(), reason(statement)?))).collect::<Vec<_>>()
        };
        let no_permit = match said(Effect::Permit).as_slice() {
            [(_, reason)] => Some(reason.clone()),
            _ => None,
        };
        Ok(Self {
            file: file.clone(),
            digest: digest(&source.text),
            forbids: said(Effect::Forbid),
            no_permit,
            action,
            statements: set,
            wanted,
        })
    }

    /// The reason of a denial.
    pub(super) fn why(&self, response: &Response) -> Option<String> {
        let held: BTreeSet<&PolicyId> = response.diagnostics().reason().collect();
        if held.is_empty() {
            return self.no_permit.clone();
        }
        self.forbids.iter().find(|(id, _)| held.contains(id)).map(|(_, reason)| reason.clone())
    }
}

/// The statements of a file, in its order, each with its place for an id.
fn statements(source: &Source) -> Result<Vec<Statement>, PolicyUnavailable> {
    let Source { file, text, .. } = source;
    check_nesting(source)?;
    let parsed: PolicySet = text.parse().map_err(|errors: ParseErrors| {
        let said = errors.iter().next().map(|error| (place(source, &error.into()), error.to_string()));
        let (place, said) = said.unwrap_or_else(|| (file.clone(), errors.to_string()));
        refuse(format!("{place}: {said}")).with_source(errors)
    })?;
    let lines = lines(text);
    // The library calls them `policy0`, `policy1`, …, in the order of the file.
    let numbered = |id: &PolicyId| -> Option<(usize, usize)> {
        let number: &str = id.as_ref();
        let number = number.strip_prefix("policy")?.parse().ok()?;
        Some((number, *lines.get(number)?))
    };
    if let Some(template) = parsed.templates().next() {
        let line = numbered(template.id()).map_or(1, |(_, line)| line);
        return Err(refuse(format!(
            "{file}:{line}: nothing fills this template in; write it without `?principal` and `?resource`"
        )));
    }
    if parsed.is_empty() {
        return Err(refuse(format!("`{file}` holds no policy; write a `permit`")));
    }
    let mut ordered = Vec::new();
    for statement in parsed.policies() {
        let Some((number, line)) = numbered(statement.id()) else {
            return Err(refuse(format!(
                "`{file}` cannot be told into its policies; write each on lines of its own"
            )));
        };
        ordered.push((number, line, statement));
    }
    ordered.sort_unstable_by_key(|(number, ..)| *number);
    let mut known = BTreeSet::new();
    Ok(ordered
        .into_iter()
        .map(|(number, line, statement)| {
            let first = known.insert(line);
            let id = if first { format!("{file}:{line}") } else { format!("{file}:{line}#{number}") };
            statement.new_id(PolicyId::new(id))
        })
        .collect())
}

fn reason(statement: &Statement) -> Option<String> {
    statement.annotation("reason").filter(|reason| !reason.is_empty()).map(bounded)
}

/// `sha256:<hex>` of the file's text.
fn digest(text: &str) -> Arc<str> {
    let hex = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("sha256:{hex}").into()
}
