//! Whether a statement's scope can match what it is asked about. One that cannot never applies, which for a `forbid`
//! means that it forbids nothing.

use cedar_policy::{
    ActionConstraint, Entities, EntityTypeName, EntityUid, Policy as Statement, PrincipalConstraint,
    ResourceConstraint,
};
use kest_core::error::PolicyUnavailable;

use super::refuse;
use super::set::Types;

pub(super) struct Scope<'a> {
    pub(super) types: &'a Types,
    pub(super) action: &'a EntityUid,
    pub(super) entities: &'a Entities,
}

impl Scope<'_> {
    pub(super) fn check(&self, statement: &Statement) -> Result<(), PolicyUnavailable> {
        let place = statement.id();
        let action = self.action;
        let is_action = |uid: &EntityUid| uid == action || self.entities.is_ancestor_of(uid, action);
        let matches = match statement.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(uid) => uid == *action,
            ActionConstraint::In(uids) => uids.iter().any(is_action),
        };
        if !matches {
            return Err(refuse(format!(
                "{place}: the action of this policy is never `{action}`; write `action == {action}`"
            )));
        }
        let wrong = |what: &str, ty: &EntityTypeName| {
            refuse(format!(
                "{place}: the {what} of this policy is never a `{ty}`; leave the type out, or write `{ty}`"
            ))
        };
        if !self.principal(&statement.principal_constraint()) {
            return Err(wrong("principal", &self.types.principal));
        }
        if !self.resource(&statement.resource_constraint()) {
            return Err(wrong("resource", &self.types.resource));
        }
        Ok(())
    }

    // Principals and resources have no parents: `in` is "equal to".

    fn principal(&self, constraint: &PrincipalConstraint) -> bool {
        let it = &self.types.principal;
        match constraint {
            PrincipalConstraint::Any => true,
            PrincipalConstraint::Eq(uid) | PrincipalConstraint::In(uid) => uid.type_name() == it,
            PrincipalConstraint::Is(ty) => ty == it,
            PrincipalConstraint::IsIn(ty, uid) => ty == it && uid.type_name() == it,
        }
    }

    fn resource(&self, constraint: &ResourceConstraint) -> bool {
        let it = &self.types.resource;
        match constraint {
            ResourceConstraint::Any => true,
            ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) => uid.type_name() == it,
            ResourceConstraint::Is(ty) => ty == it,
            ResourceConstraint::IsIn(ty, uid) => ty == it && uid.type_name() == it,
        }
    }
}
