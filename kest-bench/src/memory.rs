//! What a chain takes in memory, as the operating system sees it.
//!
//! A process of its own holds the chain, so that nothing else is in its memory; there is no counting
//! allocator, because that would slow down everything else this program measures.

use std::io::{self, Write};
use std::process::Command;

use crate::Result;
use crate::chain::{Engine, Maker};
use crate::report::{Line, Report};

const NAME: &str = "memory";

/// Prints the line of `memory`.
pub(crate) fn measure(report: &mut Report, entries: usize) -> Result<()> {
    if !report.wants(NAME) {
        return Ok(());
    }
    let output = Command::new(std::env::current_exe()?).args(["held", &entries.to_string()]).output()?;
    if !output.status.success() {
        return Err(format!(
            "the process that holds the chain failed: {}",
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }
    let text = String::from_utf8(output.stdout)?;
    let mut numbers = text.split_whitespace().map(str::parse::<usize>);
    let (Some(serialised), held) = (numbers.next().transpose()?, numbers.next().transpose()?) else {
        return Err("the process that holds the chain said nothing".into());
    };
    report.add(Line {
        name: NAME.to_owned(),
        n: entries,
        threads: 1,
        ratio: held.map(|held| held as f64 / serialised as f64),
        bytes: held,
        serialised_bytes: Some(serialised),
        ..Line::default()
    })
}

/// Holds a chain and prints its serialised size and, where the system says, the memory it takes.
pub(crate) fn hold(entries: usize) -> Result<()> {
    let maker = Maker::new(Engine::AllowAll)?;
    kest::reconfigure(maker.kest.clone())?;
    // What is made once, and the free memory that calls need to run in, is there before.
    drop(maker.passport(100)?);
    let before = resident();
    let passport = maker.passport(entries)?;
    let after = resident();
    let mut out = io::stdout().lock();
    write!(out, "{}", passport.serialize().len())?;
    if let (Some(before), Some(after)) = (before, after) {
        write!(out, " {}", after.saturating_sub(before))?;
    }
    writeln!(out)?;
    Ok(())
}

/// Bytes of anonymous memory in use. Linux only.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok().map(|kilobytes| kilobytes * 1024)
}
