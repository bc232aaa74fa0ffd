//! The keys of a store, for verifiers.

use std::collections::BTreeMap;

use kest_core::keys::{Jwks, KeyError};
use kest_core::verify::KeySource;
use serde_json::Value;

/// Public keys that stood beside entries, by workload.
#[derive(Debug, Clone, Default)]
pub struct StoredKeys {
    keys: BTreeMap<String, Jwks>,
}

impl StoredKeys {
    /// The workloads.
    pub fn workloads(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    /// Keeps a set; those that are there already are not kept twice.
    pub(super) fn add(&mut self, workload: &str, jwks: &str) -> Result<(), String> {
        let value: Value = serde_json::from_str(jwks).map_err(|error| error.to_string())?;
        let set = Jwks::from_json(&value).map_err(|error| error.to_string())?;
        let known = self.keys.entry(workload.to_owned()).or_default();
        for key in set.0 {
            if !known.0.contains(&key) {
                known.0.push(key);
            }
        }
        Ok(())
    }
}

impl KeySource for StoredKeys {
    fn keys(&self, principal: &str) -> Result<Option<Jwks>, KeyError> {
        Ok(self.keys.get(principal).cloned())
    }

    fn may_block(&self) -> bool {
        false
    }
}
