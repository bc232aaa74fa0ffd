//! What a verified call costs, beside the floor of signing and hashing. Spec §18, `docs/performance.md`.

#[cfg(feature = "audit")]
mod audit;
mod chain;
mod clock;
mod hook;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "aws-lc")]
mod keys;
mod memory;
mod passports;
mod policies;
mod probe;
mod report;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::report::Report;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Measures what Kest costs.
#[derive(Debug, Parser)]
#[command(name = "kest-bench", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Calls, verification, parsing, serialising and memory: one JSON object a line on standard output
    #[command(after_long_help = METHOD)]
    Overhead(Overhead),
    /// Makes protected calls, or verifies them, and measures nothing: for a profiler to look at
    Calls(Calls),
    /// Holds entries in memory and prints what they take: a process of its own, started by `overhead`
    #[command(hide = true)]
    Held {
        entries: usize,
        /// By a verifier that remembers them
        #[arg(long)]
        remembered: bool,
    },
    /// Checks an audit store and prints time and memory: a process of its own, started by `overhead`
    #[cfg(feature = "audit")]
    #[command(hide = true)]
    Audited { store: PathBuf },
    /// Makes requests as standard input orders: a process of its own, started by `overhead`
    #[cfg(feature = "http")]
    #[command(hide = true)]
    Client { connections: usize },
    /// Answers requests until standard input ends, and prints by how much it grew: started by `overhead`
    #[cfg(feature = "http")]
    #[command(hide = true)]
    Besieged {
        /// Behind the lineage layer
        #[arg(long)]
        layered: bool,
    },
}

#[derive(Debug, Args)]
struct Overhead {
    /// A few rounds and chains of at most 1,000 entries: shows that everything runs, measures roughly
    #[arg(long)]
    quick: bool,
    /// A table for people on standard error too
    #[arg(long)]
    table: bool,
    /// Only what has this in its name, such as `sync/allow-all`
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// The folder of the Rego policies; this repository's by default
    #[arg(long, value_name = "DIR", hide_default_value = true, default_value = POLICIES)]
    policies: PathBuf,
}

#[derive(Debug, Args)]
struct Calls {
    /// How many
    #[arg(long, default_value_t = 1_000)]
    count: usize,
    /// Of the async function
    #[arg(long = "async")]
    asynchronous: bool,
    /// And verify their passport so many times, on one thread
    #[arg(long, value_name = "TIMES", default_value_t = 0)]
    verify: usize,
    /// Judged by Rego policies of this folder instead of being allowed by a constant
    #[arg(long, value_name = "DIR")]
    rego: Option<PathBuf>,
    /// Requests to a service behind the layers instead, each with a lineage of so many new entries
    #[cfg(feature = "http")]
    #[arg(long, value_name = "ENTRIES")]
    requests: Option<usize>,
    /// To one that checks the signatures by hand
    #[cfg(feature = "http")]
    #[arg(long, requires = "requests")]
    by_hand: bool,
}

const POLICIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies");

const METHOD: &str = "\
Members of a line:
  name      what was measured, unique apart from `n`
  n         entries in the passport: before the call, or those verified, parsed, serialised, held; of `policy`, \
policies of the call
  threads   threads that did it at the same time
  ns        nanoseconds of one call, or of the whole passport
  floor_ns  the floor beside it, measured in the same run and in turns with it
  ratio     the one over the other
  own_ns    a call without the provider's signing and the engine's decision; null elsewhere
  added_ns  of `policy`: `ns` less `floor_ns`

Floors: of a call, Ed25519 signing, SHA-256 and base64 of the same bytes; of `verify`, verify_strict of the same \
signing inputs on as many threads; of `verify/remembered/1-new`, the same verification by a verifier that remembers \
nothing, and of `…/signatures`, verify_strict of all `n` signing inputs; of `sign`, which is there with the feature \
`aws-lc`, a signature of the same signing input with the same key; of `parse`, a copy of every entry; of `serialize`, \
one copy of all of them; of `policy`, the library's own evaluation of the same policies with a ready input; of \
`memory`, the serialised passport (`bytes` over `serialised_bytes`); of `http/throughput`, a service that checks the \
same token and the same signatures by hand; of `http/layer` and its parts, verifying all `n` anew; of `http/write`, \
serialising the passport; of `http/hostile`, a service with nothing in front (`bytes` over `floor_bytes`).

Calls: every call is timed by itself, in a scope of its own that goes on from a verified chain of exactly `n` \
entries; entering the scope is not timed. Rounds go through all chain lengths, and in each the bare call, the floor \
and the call under a probe take turns. The probe times signing and decision inside the very call, and what is left \
of that call is `own_ns`. `ns`, `floor_ns` and `own_ns` are medians, `ratio` is the median over the rounds, and the \
cost of reading the clock is taken off everywhere.

Policies: what a call with user, object and a parent asks, as the hook asks it: of one snapshot of the engine, with \
one input for all. Ask and floor take turns; medians.

HTTP, with the feature `http`: a client process with eight connections and a service process, both services in turns; \
time on the wall, and of the service's processors. `new` lineages are none that the layer remembers, `known` ones all.

Audit, with the feature `audit`: eight tasks that hand signed entries to a sink, each waiting for its acknowledgement, \
beside a thread that appends the same lines one by one; wall time of an entry, and `p99_ns` of a call. `…/power` beside \
as many flushes of a line each. `audit/verify`: every entry of a store of `n`, by a process of its own (`bytes`: its \
peak of memory), beside verify_strict of so many on as many threads. `audit/list`: opening the store and finding the \
newest hundred, the slowest of the filters.

Passports: the least of several repetitions, in turns with the floor; processor time on one thread, wall time on \
several. Memory: growth of the anonymous resident memory of a process that makes 10,000 entries, or verifies \
and remembers as many.";

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Overhead(overhead) => overhead.run(),
        Command::Calls(calls) => calls.run(),
        Command::Held { entries, remembered: true } => memory::hold_remembered(entries),
        Command::Held { entries, remembered: false } => memory::hold(entries),
        #[cfg(feature = "audit")]
        Command::Audited { store } => audit::store::audited(&store),
        #[cfg(feature = "http")]
        Command::Client { connections } => http::client::run(connections),
        #[cfg(feature = "http")]
        Command::Besieged { layered } => http::hostile::besieged(layered),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::complain(&*error);
            ExitCode::FAILURE
        }
    }
}

impl Calls {
    fn run(&self) -> Result<()> {
        #[cfg(feature = "http")]
        if let Some(entries) = self.requests {
            return http::requests::requests(self.count, entries, self.by_hand);
        }
        hook::calls(self.count, self.asynchronous, self.rego.as_deref())?;
        if self.verify > 0 { passports::verify_only(self.count, self.verify) } else { Ok(()) }
    }
}

impl Overhead {
    fn run(&self) -> Result<()> {
        let mut report = Report::new(self.only.clone(), self.table);
        hook::measure(&mut report, &self.policies, self.quick)?;
        policies::measure(&mut report, self.quick)?;
        #[cfg(feature = "aws-lc")]
        keys::measure(&mut report, self.quick)?;
        passports::measure(&mut report, self.quick)?;
        memory::measure(&mut report, if self.quick { 1_000 } else { 10_000 })?;
        #[cfg(feature = "http")]
        http::measure(&mut report, self.quick)?;
        #[cfg(feature = "audit")]
        audit::measure(&mut report, self.quick)?;
        report.finish()
    }
}
