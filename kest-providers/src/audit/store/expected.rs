//! Running hashes that were kept elsewhere.

use kest_core::error::{AuditError, AuditErrorKind};

use super::{Finding, FindingKind, Place};
use crate::audit::chain::{Link, hex, unhex};

/// Those that a scan has not come by yet.
#[derive(Debug, Default)]
pub(super) struct Expected(Vec<Link>);

impl Expected {
    pub(super) fn add(&mut self, tip: &str) -> Result<(), AuditError> {
        let link = unhex(tip.as_bytes()).ok_or_else(|| {
            AuditError::new(
                AuditErrorKind::Malformed,
                format!("`{}` is no SHA-256 in lowercase hex (64 digits)", tip.escape_debug()),
            )
        })?;
        self.0.push(link);
        Ok(())
    }

    pub(super) fn pass(&mut self, link: &Link) {
        if !self.0.is_empty() {
            self.0.retain(|expected| expected != link);
        }
    }

    /// At the end.
    pub(super) fn missed(&mut self) -> Option<Finding> {
        let link = self.0.pop()?;
        let detail = format!(
            "the running hash `{}` that was kept elsewhere is nowhere in it: its end was cut off, entries were \
             changed, or retention has deleted the place",
            hex(&link)
        );
        Some(Finding::new(Place::Store, FindingKind::Missing, detail))
    }
}
