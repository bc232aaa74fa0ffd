//! `kest completions`.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::Outcome;
use crate::input::Unusable;
use crate::output::Out;

/// Write the completions of this command for a shell
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Completions {
    /// The shell that reads them
    #[arg(value_enum)]
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  kest completions bash > ~/.local/share/bash-completion/completions/kest
  kest completions zsh > ~/.zfunc/_kest            with ~/.zfunc in fpath
  kest completions fish > ~/.config/fish/completions/kest.fish";

impl Completions {
    /// # Errors
    /// When the output cannot be written.
    pub(crate) fn run(self, out: &Out, mut command: Command) -> Result<Outcome, Unusable> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "kest", &mut script);
        let script = String::from_utf8(script)
            .map_err(|error| Unusable(format!("the completions are not UTF-8: {error}")))?;
        out.write(&script)?;
        Ok(Outcome::Good)
    }
}
