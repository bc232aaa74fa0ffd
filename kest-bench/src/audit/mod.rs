//! Audit sinks: what an acknowledgement takes, and what a large store takes to read.

mod load;
mod sign;
pub(crate) mod store;

use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::report::Report;

/// Prints the lines `audit/…`.
pub(crate) fn measure(report: &mut Report, quick: bool) -> Result<()> {
    load::measure(report, quick)?;
    store::measure(report, if quick { 10_000 } else { 1_000_000 })
}

/// A folder in the temporary folder, gone when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("kest-bench-{name}-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays is the temporary folder's.
        let _ = fs::remove_dir_all(&self.0);
    }
}
