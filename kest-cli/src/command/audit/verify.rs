//! `kest audit verify`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use crate::Outcome;
use crate::input::{Trusted, Unusable};
use crate::output::Out;
use crate::store::check::{self, Options};
use crate::store::recognise;

/// Check a whole store: that nothing was edited, deleted or moved, and who signed each entry
///
/// Walks over everything with flat memory, on all cores. Prints the running hash of the end (`tip`): kept where nobody
/// who can write the store can write, it proves later, with --expect-tip, that nothing before it was changed or cut
/// off. Each entry is checked by itself; what it follows from is checked by `kest verify` on a passport that
/// `kest audit export` has written.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(group = ArgGroup::new("trusted").required(true).multiple(true).args(["anchors", "bundle", "stored_keys"]))]
pub(crate) struct Verify {
    /// The store: a folder, a segment or a database; `-` reads the lines of one segment
    store: PathBuf,
    #[command(flatten)]
    trusted: Trusted,
    #[command(flatten)]
    options: Options,
    /// Write one JSON object instead of text
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kest audit verify /var/lib/orders/audit --anchors anchors.json
  kest audit verify audit.db --bundle bundles.json --expect-tip 5f2c…
  kest audit verify audit --anchors run1.json --anchors run2.json --expect-tip 5f2c… --retained-since 400d
  zcat 0000000001.jsonl.gz | kest audit verify - --anchors anchors.json

Exit codes: 0 accepted; 1 damaged, an entry fails, no entry at all, or --expect-tip was given and completeness does not \
pass; 2 usage error or unreadable input; 130 interrupted (Ctrl-C).";

impl Verify {
    /// # Errors
    /// When something cannot be read. Damage is an outcome.
    pub(crate) fn run(self, out: &Out) -> Result<Outcome, Unusable> {
        let name = self.store.display().to_string();
        let given = recognise(&self.store)?;
        check::run(*out, name, given, &self.trusted, &self.options, self.json)
    }
}
