//! `kest policy`: one file per command.

mod check;
mod ls;
mod sync;
mod test;

use clap::{Args, Subcommand};

use crate::Outcome;
use crate::input::Unusable;
use crate::output::Out;

/// Look at policies, check and test them, and note down those of a server
#[derive(Debug, Args)]
pub(crate) struct Policy {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    Ls(ls::Ls),
    Check(check::Check),
    Test(test::Test),
    Sync(sync::Sync),
}

impl Policy {
    /// # Errors
    /// When something that the command needs cannot be read, or the output cannot be written.
    pub(crate) fn run(self, out: &Out) -> Result<Outcome, Unusable> {
        match self.command {
            PolicyCommand::Ls(ls) => ls.run(out),
            PolicyCommand::Check(check) => check.run(out),
            PolicyCommand::Test(test) => test.run(out),
            PolicyCommand::Sync(sync) => sync.run(out),
        }
    }
}

/// `1 policy`, `2 policies`.
fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
