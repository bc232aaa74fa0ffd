//! What a chain takes in memory, and what remembering its entries does, as the operating system sees it.
//!
//! A process of its own holds the entries, so that nothing else is in its memory; there is no counting
//! allocator, because that would slow down everything else this program measures.

use std::io::{self, Write};
use std::process::Command;

use kest::verify::{Remembered, UnverifiedPassport, Verifier};

use crate::Result;
use crate::chain::{Engine, Maker};
use crate::report::{Line, Report};

const CHAIN: &str = "memory";
const REMEMBERED: &str = "memory/remembered";

/// Prints the lines of `memory`.
pub(crate) fn measure(report: &mut Report, entries: usize) -> Result<()> {
    for (name, option) in [(CHAIN, None), (REMEMBERED, Some("--remembered"))] {
        if report.wants(name) {
            measure_process(report, name, entries, option)?;
        }
    }
    Ok(())
}

fn measure_process(report: &mut Report, name: &str, entries: usize, option: Option<&str>) -> Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.args(["held", &entries.to_string()]).args(option).output()?;
    if !output.status.success() {
        return Err(format!(
            "the process that holds the entries failed: {}",
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }
    let text = String::from_utf8(output.stdout)?;
    let mut numbers = text.split_whitespace().map(str::parse::<usize>);
    let (Some(serialised), held) = (numbers.next().transpose()?, numbers.next().transpose()?) else {
        return Err("the process that holds the entries said nothing".into());
    };
    report.add(Line {
        name: name.to_owned(),
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
    say(passport.serialize().len(), before, after)
}

/// The same of a verifier that remembers so many entries, from passports of a hundred that are dropped again.
pub(crate) fn hold_remembered(entries: usize) -> Result<()> {
    const EACH: usize = 100;
    let maker = Maker::new(Engine::AllowAll)?;
    kest::reconfigure(maker.kest.clone())?;
    let verify = |remembered: &Remembered| -> Result<usize> {
        let text = maker.passport(EACH)?.serialize();
        let verifier = Verifier::builder().keys(maker.anchors.clone()).remember(remembered.clone()).build();
        UnverifiedPassport::deserialize(&text)?.verify(&verifier)?;
        Ok(text.len())
    };
    verify(&Remembered::new(EACH))?;
    // More, so that none is forgotten.
    let remembered = Remembered::new(4 * entries);
    let before = resident();
    let mut serialised = 0;
    for _ in 0..entries.div_ceil(EACH) {
        serialised += verify(&remembered)?;
    }
    let after = resident();
    if remembered.len() < entries {
        return Err("entries were forgotten".into());
    }
    say(serialised, before, after)
}

fn say(serialised: usize, before: Option<usize>, after: Option<usize>) -> Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "{serialised}")?;
    if let (Some(before), Some(after)) = (before, after) {
        write!(out, " {}", after.saturating_sub(before))?;
    }
    writeln!(out)?;
    Ok(())
}

/// Bytes of anonymous memory in use. Linux only.
fn resident() -> Option<usize> {
    of_status("RssAnon:")
}

/// Bytes that Linux shows for this process under that name.
pub(crate) fn of_status(name: &str) -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok().map(|kilobytes| kilobytes * 1024)
}
