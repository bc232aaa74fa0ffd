//! `policy_context`: which policies allowed the call.

use smallvec::{SmallVec, smallvec};

use super::own::deviations;
use super::read::{Reader, Result, strings};
use super::{EntryError, PolicyContext};
use crate::canonical::Kind;

impl Reader<'_> {
    pub(super) fn policy_context(&mut self) -> Result<PolicyContext> {
        const MEMBERS: [&str; 5] =
            ["app_policies", "deviations", "enterprise_policies", "function_policies", "platform_policies"];
        let mut context = PolicyContext::default();
        let mut found: SmallVec<[&str; 5]> = smallvec![];
        self.json.begin_object()?;
        while let Some(name) = self.json.next_key()? {
            match &*name {
                "app_policies" => context.app_policies = strings(&mut self.json)?,
                "enterprise_policies" => context.enterprise_policies = strings(&mut self.json)?,
                "function_policies" => context.function_policies = strings(&mut self.json)?,
                "platform_policies" => context.platform_policies = strings(&mut self.json)?,
                "deviations" => self.deviations(&mut context)?,
                _ => {
                    self.json.skip_value()?;
                    let problem = "has a member that is not known";
                    self.departures.push(EntryError::Malformed { member: "policy_context", problem });
                }
            }
            found.extend(MEMBERS.iter().copied().find(|member| **member == *name));
        }
        if found.len() == MEMBERS.len() {
            Ok(context)
        } else {
            Err(EntryError::Malformed {
                member: "policy_context",
                problem: "lacks a tier, or its deviations",
            })
        }
    }

    fn deviations(&mut self, context: &mut PolicyContext) -> Result<()> {
        let expected = "a list of deviations";
        match self.json.peek()? {
            Kind::Array => {}
            found @ (Kind::Null | Kind::Bool | Kind::Number | Kind::String | Kind::Object) => {
                return Err(EntryError::Type { member: "policy_context", expected, found });
            }
        }
        match deviations(self.raw()?) {
            Ok(list) => context.deviations = list,
            Err(error) => self.departures.push(error.of("policy_context")),
        }
        Ok(())
    }
}
