//! What is asked, in the library's types.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::OnceLock;

use cedar_policy::{Context, EntityId, EntityUid, RestrictedExpression};
use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::policy::PolicyInput;

use super::set::Types;
use crate::policy::cedar_form::{self, CedarValue};

/// What policies of one call share. Follows from the input alone.
pub(super) struct Asked {
    principal: EntityUid,
    resource: EntityUid,
    /// What the input has that Cedar cannot hold, as a message.
    unfit: Option<String>,
    /// The whole context, once a policy wants it.
    context: OnceLock<Context>,
}

impl Asked {
    pub(super) fn of(input: &PolicyInput<'_>, types: &Types) -> Self {
        let entity = |ty: &cedar_policy::EntityTypeName, id| {
            EntityUid::from_type_name_and_id(ty.clone(), EntityId::new(id))
        };
        Self {
            principal: entity(&types.principal, cedar_form::principal(input)),
            resource: entity(&types.resource, cedar_form::resource(input)),
            unfit: cedar_form::check(input).err().map(|error| error.to_string()),
            context: OnceLock::new(),
        }
    }

    /// Principal, resource and context.
    pub(super) fn request(
        &self,
        input: &PolicyInput<'_>,
        wanted: &Wanted,
    ) -> Result<(EntityUid, EntityUid, Context), PolicyUnavailable> {
        if let Some(unfit) = &self.unfit {
            return Err(PolicyUnavailable::new(PolicyErrorKind::Input, unfit.clone()));
        }
        let context = match (&wanted.members, self.context.get()) {
            (Some(members), _) => {
                let mut found = Vec::with_capacity(members.len());
                for Member { key, .. } in members {
                    if let Some(value) = cedar_form::attribute(input, key)? {
                        found.push((Cow::Borrowed(key.as_str()), value));
                    }
                }
                made(found)?
            }
            (None, Some(context)) => context.clone(),
            (None, None) => {
                let context = made(cedar_form::context(input)?)?;
                self.context.get_or_init(|| context).clone()
            }
        };
        Ok((self.principal.clone(), self.resource.clone(), context))
    }
}

/// What a policy is given of the context.
pub(super) struct Wanted {
    /// Nothing is the whole context.
    members: Option<Vec<Member>>,
}

struct Member {
    key: String,
    required: bool,
}

impl Wanted {
    pub(super) fn everything() -> Self {
        Self { members: None }
    }

    /// These members, where the input has them.
    pub(super) fn members(keys: BTreeSet<String>) -> Self {
        Self::declared(keys.into_iter().map(|key| (key, false)))
    }

    /// These members, with whether the schema requires each.
    pub(super) fn declared(members: impl IntoIterator<Item = (String, bool)>) -> Self {
        let members = members.into_iter().map(|(key, required)| Member { key, required });
        Self { members: Some(members.collect()) }
    }

    /// The names of the members, if it is not everything.
    #[cfg(test)]
    pub(super) fn keys(&self) -> Option<Vec<String>> {
        Some(self.members.as_ref()?.iter().map(|member| member.key.clone()).collect())
    }

    /// The first required member that the input lacks, as the end of a message.
    pub(super) fn missing(&self, input: &PolicyInput<'_>) -> Option<String> {
        let mut required = self.members.iter().flatten().filter(|member| member.required);
        let missing =
            required.find(|member| matches!(cedar_form::attribute(input, &member.key), Ok(None)))?;
        Some(format!("`{}` is missing; declare it optional, or give it", missing.key))
    }
}

fn made<'a>(
    members: impl IntoIterator<Item = (Cow<'a, str>, CedarValue<'a>)>,
) -> Result<Context, PolicyUnavailable> {
    let pairs =
        members.into_iter().map(|(key, value)| expression(value).map(|value| (key.into_owned(), value)));
    Context::from_pairs(pairs.collect::<Result<Vec<_>, _>>()?).map_err(unfit)
}

fn unfit(error: impl std::error::Error + Send + Sync + 'static) -> PolicyUnavailable {
    PolicyUnavailable::new(PolicyErrorKind::Input, "the input cannot be a context of Cedar")
        .with_source(error)
}

fn expression(value: CedarValue<'_>) -> Result<RestrictedExpression, PolicyUnavailable> {
    Ok(match value {
        CedarValue::Bool(bool) => RestrictedExpression::new_bool(bool),
        CedarValue::Long(long) => RestrictedExpression::new_long(long),
        CedarValue::String(text) => RestrictedExpression::new_string(text.to_owned()),
        CedarValue::Set(items) => {
            let items = items.into_iter().map(expression).collect::<Result<Vec<_>, _>>()?;
            RestrictedExpression::new_set(items)
        }
        CedarValue::Record(members) => {
            let members = members
                .into_iter()
                .map(|(name, value)| expression(value).map(|value| (name.into_owned(), value)));
            return RestrictedExpression::new_record(members.collect::<Result<Vec<_>, _>>()?).map_err(unfit);
        }
    })
}

#[cfg(test)]
mod tests;
