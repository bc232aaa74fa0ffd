//! Which policies there are, who names them, and which names lead nowhere. Spec §7, §15.

use std::collections::BTreeMap;

use kest_core::policy::Tier;
use serde::Serialize;

use super::files::Files;
use super::names::did_you_mean;
use super::project::Project;
use super::source::{Found, Protected};

/// Policies by name.
#[derive(Debug, Default)]
pub(crate) struct Catalog<'a> {
    pub(crate) policies: BTreeMap<&'a str, Policy<'a>>,
    /// Names that stand in the configuration or the code, and for no policy.
    pub(crate) absent: BTreeMap<&'a str, Policy<'a>>,
}

/// One name.
#[derive(Debug, Default)]
pub(crate) struct Policy<'a> {
    pub(crate) kinds: Vec<Kind>,
    pub(crate) tiers: Vec<Tier>,
    pub(crate) used_by: Vec<&'a Protected>,
}

/// What makes a policy one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// A Rego file.
    Rego,
    /// A Cedar file.
    Cedar,
    /// An entry of `kest-policies.lock`.
    Lock,
    /// A name in `known` of the configuration.
    Known,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Rego => "rego",
            Self::Cedar => "cedar",
            Self::Lock => "lock",
            Self::Known => "known",
        }
    }
}

impl<'a> Catalog<'a> {
    /// Puts together what the folder, the lock, the configuration and the sources say.
    pub(crate) fn new(project: &'a Project, files: &'a Files, found: &'a Found) -> Self {
        let mut catalog = Self::default();
        let config = &project.config.policies;
        let kinds: [(Kind, Vec<&str>); 4] = [
            (Kind::Rego, files.rego.keys().map(String::as_str).collect()),
            (Kind::Cedar, files.cedar.keys().map(String::as_str).collect()),
            (Kind::Lock, project.lock.0.keys().map(String::as_str).collect()),
            (Kind::Known, config.known.iter().map(String::as_str).collect()),
        ];
        for (kind, names) in kinds {
            for name in names {
                let policy = catalog.policies.entry(name).or_default();
                if !policy.kinds.contains(&kind) {
                    policy.kinds.push(kind);
                }
            }
        }
        for tier in [Tier::Enterprise, Tier::Platform, Tier::Application] {
            for name in project.config.tier(tier) {
                catalog.entry(name).tiers.push(tier);
            }
        }
        for function in &found.functions {
            for name in &function.policies.names {
                catalog.entry(name).used_by.push(function);
            }
        }
        catalog
    }

    /// What a name that leads nowhere was probably meant to be.
    pub(crate) fn suggestion(&self, name: &str) -> String {
        did_you_mean(name, self.policies.keys().copied())
    }

    fn entry(&mut self, name: &'a str) -> &mut Policy<'a> {
        match self.policies.get_mut(name) {
            Some(policy) => policy,
            None => self.absent.entry(name).or_default(),
        }
    }
}
