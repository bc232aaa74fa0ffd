//! Eight tasks that wait for acknowledgements.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use kest::audit::{AuditSink, Durability, FileAudit, SqliteAudit};
use tokio::runtime::Runtime;

use super::Folder;
use super::sign::{Signed, Signer};
use crate::Result;
use crate::clock::{Clock, least, median, since};
use crate::report::{Line, Report};

const TASKS: usize = 8;

/// Prints the lines `audit/append/…`.
pub(super) fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let (rounds, many, few) = if quick { (2, 4_000, 200) } else { (9, 50_000, 2_000) };
    // Lives as long as the tasks that borrow it.
    let signer: &'static Signer = Box::leak(Box::new(Signer::new("load")?));
    for (sink, durability, count) in [
        ("file", Durability::Process, many),
        ("sqlite", Durability::Process, many),
        ("file", Durability::Power, few),
        ("sqlite", Durability::Power, few),
    ] {
        let power = durability == Durability::Power;
        let name = format!("audit/append/{sink}/{}", if power { "power" } else { "process" });
        if !report.wants(&name) {
            continue;
        }
        let entries = (0..count as u64).map(|number| signer.sign(number)).collect::<Result<Vec<_>>>()?;
        let entries: &'static [Signed<'static>] = Vec::leak(entries);
        let (mut times, mut floors, mut tails) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let folder = Folder::new("append")?;
            let (ns, p99) = append(open(sink, durability, folder.path())?, entries)?;
            times.push(ns);
            tails.push(p99);
            floors.push(raw(&folder.path().join("raw"), entries, power)?);
        }
        let ratios = times.iter().zip(&floors).map(|(ns, floor)| ns / floor).collect();
        report.add(Line {
            name,
            n: count,
            threads: TASKS,
            ns: Some(least(&times)),
            floor_ns: Some(least(&floors)),
            ratio: Some(median(ratios)),
            p99_ns: Some(median(tails)),
            ..Line::default()
        })?;
    }
    Ok(())
}

/// A sink in a folder.
pub(super) fn open(sink: &str, durability: Durability, folder: &Path) -> Result<Arc<dyn AuditSink>> {
    Ok(match sink {
        "file" => Arc::new(FileAudit::builder(folder.join("audit")).durability(durability).open()?),
        _ => Arc::new(SqliteAudit::builder(folder.join("audit.sqlite")).durability(durability).open()?),
    })
}

/// Nanoseconds of an entry, and what 99 of 100 calls stay under.
fn append(sink: Arc<dyn AuditSink>, entries: &'static [Signed<'static>]) -> Result<(f64, f64)> {
    let runtime = Runtime::new()?;
    let (wall, calls) = Clock::Wall.time(|| {
        runtime.block_on(async {
            let tasks: Vec<_> = (0..TASKS)
                .map(|task| {
                    let sink = Arc::clone(&sink);
                    tokio::spawn(async move {
                        let mut calls = Vec::with_capacity(entries.len() / TASKS + 1);
                        for entry in entries.iter().skip(task).step_by(TASKS) {
                            let start = Instant::now();
                            sink.append_async(&entry.record()).await?;
                            calls.push(since(start));
                        }
                        Ok::<_, kest::error::AuditError>(calls)
                    })
                })
                .collect();
            let mut calls = Vec::new();
            for task in tasks {
                calls.append(&mut task.await??);
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(calls)
        })
    });
    let mut calls = calls?;
    calls.sort_unstable_by(f64::total_cmp);
    let p99 = calls.get(calls.len() * 99 / 100).copied().ok_or("no calls")?;
    Ok((wall / entries.len() as f64, p99))
}

/// The same lines appended to a file one by one, each flushed where it is to outlast the power.
fn raw(path: &Path, entries: &[Signed<'_>], power: bool) -> Result<f64> {
    let mut file: File = OpenOptions::new().append(true).create_new(true).open(path)?;
    let lines: Vec<Vec<u8>> = entries
        .iter()
        .map(|entry| {
            let mut line = entry.jws.as_str().as_bytes().to_vec();
            // What a line of the store has beside the JWS.
            line.extend([b'x'; 115]);
            line.push(b'\n');
            line
        })
        .collect();
    let (wall, written) = Clock::Wall.time(|| {
        for line in &lines {
            file.write_all(line)?;
            if power {
                file.sync_data()?;
            }
        }
        Ok::<_, std::io::Error>(())
    });
    written?;
    Ok(wall / entries.len() as f64)
}
