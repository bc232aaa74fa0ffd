//! The command `kest`: verify and look at passports, at the identity of this process, and at policies. Spec §14.

mod command;
mod entry;
mod file;
mod graph;
mod identity;
mod input;
mod lineage;
mod output;
mod picture;
mod policy;
mod text;
mod verdict;

use std::process::ExitCode;

use clap::{ColorChoice, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::command::{completions, graph as graphs, keys, policy as policies, show, verify, whoami};
use crate::input::Unusable;
use crate::output::Out;

/// Verify and look at Kest passports: the signed record of who did what, in which order, and what allowed it.
///
/// A passport is a JSON array of signed entries; each entry names those it follows by their hashes. Who signs is the
/// identity that the platform gives.
#[derive(Debug, Parser)]
#[command(name = "kest", version, color = ColorChoice::Auto, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Colours: on a terminal without NO_COLOR, always, or never
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Colour::Auto, global = true, display_order = 900)]
    color: Colour,
}

const EXAMPLES: &str = "\
Examples:
  kest verify passport.json --anchors anchors.json   check a passport against the keys you trust
  kest verify passport.json --bundle bundles.json    or against the SPIFFE trust domains you trust
  kest show passport.json                            look at what a passport claims
  kest graph passport.json --output lineage.html     draw it: a page to explore, offline, that checks for itself
  kest whoami                                        say which identity this process has, and why
  kest keys export                                   write what others verify it with
  kest policy check                                  check policies, and the names of them in the code
  kest policy test                                   ask policies the cases in their tables

Exit codes: 0 good, 1 bad verdict or no identity, 2 usage error or unreadable input.";

#[derive(Debug, Subcommand)]
enum Command {
    Verify(verify::Verify),
    Show(show::Show),
    Graph(graphs::Graph),
    Whoami(whoami::Whoami),
    Keys(keys::Keys),
    Policy(policies::Policy),
    Completions(completions::Completions),
}

/// When to write colours.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Colour {
    Auto,
    Always,
    Never,
}

/// What a command found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Good,
    Bad,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let out = Out::new(cli.color);
    let outcome = match cli.command {
        Command::Verify(verify) => verify.run(&out),
        Command::Show(show) => show.run(&out),
        Command::Graph(graph) => graph.run(&out),
        Command::Whoami(whoami) => whoami.run(&out),
        Command::Keys(keys) => keys.run(&out),
        Command::Policy(policy) => policy.run(&out),
        Command::Completions(completions) => completions.run(&out, Cli::command()),
    };
    match outcome {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Bad) => ExitCode::from(1),
        Err(Unusable(message)) => {
            output::complain(&message);
            ExitCode::from(2)
        }
    }
}
