//! Whether a statement's scope can match what it is asked about. One that cannot never applies, which for a `forbid`
//! means that it forbids nothing.

use cedar_policy::{
    ActionConstraint, Entities, EntityId, EntityTypeName, EntityUid, Policy as Statement,
    PrincipalConstraint, ResourceConstraint,
};
use kest_core::error::PolicyUnavailable;

use super::hierarchy::GROUPS;
use super::refuse;
use super::set::Types;

pub(super) struct Scope<'a> {
    pub(super) types: &'a Types,
    pub(super) action: &'a EntityUid,
    pub(super) entities: &'a Entities,
}

impl Scope<'_> {
    /// Whether it is the action of the policy, or a group that has it.
    fn is_action(&self, uid: &EntityUid) -> bool {
        uid == self.action || self.entities.is_ancestor_of(uid, self.action)
    }

    /// The same of an id alone.
    pub(super) fn is_action_named(&self, id: &str) -> bool {
        self.is_action(&EntityUid::from_type_name_and_id(self.types.action.clone(), EntityId::new(id)))
    }

    /// What is said of an action that is another.
    pub(super) fn never(&self) -> String {
        let action = self.action;
        format!("the action of this policy is never `{action}`; write `action == {action}`")
    }

    pub(super) fn check(&self, statement: &Statement) -> Result<(), PolicyUnavailable> {
        let place = statement.id();
        let action = self.action;
        let matches = match statement.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(uid) => uid == *action,
            ActionConstraint::In(uids) => uids.iter().any(|uid| self.is_action(uid)),
        };
        if !matches {
            return Err(refuse(format!("{place}: {}", self.never())));
        }
        let wrong = |what: &str, ty: &EntityTypeName| {
            refuse(format!(
                "{place}: the {what} of this policy is never a `{ty}`; leave the type out, or write `{ty}`"
            ))
        };
        let groups = || refuse(format!("{place}: {GROUPS}"));
        let it = &self.types.principal;
        let matches = match statement.principal_constraint() {
            PrincipalConstraint::Any => true,
            PrincipalConstraint::Eq(uid) => uid.type_name() == it,
            PrincipalConstraint::Is(ty) => ty == *it,
            PrincipalConstraint::In(_) | PrincipalConstraint::IsIn(..) => return Err(groups()),
        };
        if !matches {
            return Err(wrong("principal", it));
        }
        let it = &self.types.resource;
        let matches = match statement.resource_constraint() {
            ResourceConstraint::Any => true,
            ResourceConstraint::Eq(uid) => uid.type_name() == it,
            ResourceConstraint::Is(ty) => ty == *it,
            ResourceConstraint::In(_) | ResourceConstraint::IsIn(..) => return Err(groups()),
        };
        if !matches {
            return Err(wrong("resource", it));
        }
        Ok(())
    }
}
