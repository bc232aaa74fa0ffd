//! `kest audit`: one file per command.

mod export;
mod ls;
mod show;
mod verify;

use clap::{Args, Subcommand};

use crate::Outcome;
use crate::input::Unusable;
use crate::output::Out;

/// Look at audit stores: list, draw, check, and take passports out
///
/// A store is a folder of segments, one segment of it, or an SQLite database. A service may be writing it meanwhile.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    Ls(ls::Ls),
    Show(show::Show),
    Verify(verify::Verify),
    Export(export::Export),
}

impl Audit {
    /// # Errors
    /// When something cannot be read or written. Damage is an outcome.
    pub(crate) fn run(self, out: &Out) -> Result<Outcome, Unusable> {
        match self.command {
            AuditCommand::Ls(ls) => ls.run(out),
            AuditCommand::Show(show) => show.run(out),
            AuditCommand::Verify(verify) => verify.run(out),
            AuditCommand::Export(export) => export.run(out),
        }
    }
}
