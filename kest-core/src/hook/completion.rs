//! `record_output`: a second entry, signed after the body. Spec §6.

use std::sync::Arc;

use serde_json::Value;

use super::prepare::Prepared;
use super::snapshot::{all_taints, lowest_trust};
use super::{Draft, Mode};
use crate::canonical::{self, CanonicalError};
use crate::error::{CanonicalizationError, CompletionError, Error};
use crate::jws::{hex, sha256};
use crate::lineage::scope::Scope;
use crate::payload::Completes;

impl Prepared {
    /// Signs the completion and makes it the tip of the body's scope.
    pub(super) async fn complete(
        &self,
        scope: &Arc<Scope>,
        output: Result<Option<Value>, CanonicalError>,
        mode: Mode,
    ) -> Result<(), Error> {
        let sealed = async {
            while let Some(snapshot) = self.snapshot_of(&scope.tips())? {
                let join = snapshot.draft.seal(&self.sealer(), mode).await?;
                scope.replace(&snapshot.group, &join);
            }
            let draft = self.completion(scope, output)?;
            let parents = draft.parents.clone();
            let node = draft.seal(&self.sealer(), mode).await?;
            scope.replace(&parents, &node);
            Ok(())
        };
        sealed
            .await
            .map_err(|error: Error| CompletionError::new(&self.operation, &self.entry_id, error).into())
    }

    fn completion(
        &self,
        scope: &Arc<Scope>,
        output: Result<Option<Value>, CanonicalError>,
    ) -> Result<Draft, Error> {
        let unrecordable = |error| CanonicalizationError::new("record_output", error);
        let (outcome, content_hash) = match output.map_err(unrecordable)? {
            Some(value) => ("ok", sha256_hex(&canonical::to_vec(&value).map_err(unrecordable)?)),
            None => ("error", String::new()),
        };
        let parents = scope.tips();
        let (trust, taints) = (lowest_trust(&parents), all_taints(&parents));
        let completes = Completes { entry_id: &self.entry_id, outcome };
        Ok(self.side_entry(
            &self.operation,
            "completion",
            parents,
            trust,
            taints,
            Some(completes),
            &content_hash,
        ))
    }
}

/// SHA-256 of canonical bytes, in hex.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&sha256(bytes))
}
