//! Runs a command as a workload of a SPIRE agent: `under-spire COMMAND [ARGUMENT…]`, with `KEST_LAB` set.
//!
//! Server and agent start before and stop after it; `SPIFFE_ENDPOINT_SOCKET` names the agent's socket, and the command's
//! own program is registered as `/workload`, with an SVID of an hour.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a program of the tests")]

use std::env;
use std::process::{Command, ExitCode};
use std::time::Duration;

use kest_lab::{Domain, Entry, Folder, KeyType, Lab};

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let (Some(program), Some(lab)) = (arguments.next(), Lab::from_env()) else {
        eprintln!("usage: KEST_LAB=\"$(bash lab/install)\" under-spire COMMAND [ARGUMENT…]");
        return ExitCode::from(2);
    };
    let folder = Folder::new();
    // The agent knows a workload by the path of its program: by a name that nobody else runs.
    let program = folder.program(program.as_ref(), "workload");
    let domain = Domain::start(&lab, &folder, "kest.internal");
    let agent = domain.agent("agent", KeyType::EcP256);
    let _id =
        domain.register(&agent, &Entry::of_program("workload", &program).ttl(Duration::from_secs(3_600)));
    let ended = Command::new(&program)
        .args(arguments)
        .env("SPIFFE_ENDPOINT_SOCKET", agent.endpoint())
        .status()
        .unwrap();
    ExitCode::from(u8::from(!ended.success()))
}
