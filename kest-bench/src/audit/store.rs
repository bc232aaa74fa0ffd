//! A large store: building it, checking it, finding something in it.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use kest::audit::{Checked, Durability, Filter, Store};
use kest::verify::Verifier;

use super::Folder;
use super::load::open;
use super::sign::Signer;
use crate::Result;
use crate::clock::{Clock, least};
use crate::memory::of_status;
use crate::report::{Line, Report};

const THREADS: usize = 8;

/// Prints the lines `audit/build/…`, `audit/verify/…` and `audit/list/…`.
pub(super) fn measure(report: &mut Report, entries: usize) -> Result<()> {
    for sink in ["file", "sqlite"] {
        let name = |what: &str| format!("audit/{what}/{sink}");
        if !["build", "verify", "list"].iter().any(|what| report.wants(&name(what))) {
            continue;
        }
        let folder = Folder::new("store")?;
        let (built, path) = build(sink, folder.path(), entries)?;
        if report.wants(&name("build")) {
            report.add(Line {
                name: name("build"),
                n: entries,
                threads: THREADS,
                ns: Some(built),
                bytes: Some(bytes(folder.path())?),
                ..Line::default()
            })?;
        }
        if report.wants(&name("verify")) {
            verify(report, name("verify"), &path, entries)?;
        }
        if report.wants(&name("list")) {
            list(report, name("list"), &path, entries)?;
        }
    }
    Ok(())
}

fn build(sink: &str, folder: &Path, entries: usize) -> Result<(f64, PathBuf)> {
    let audit = open(sink, Durability::Process, folder)?;
    let signers =
        (0..10).map(|number| Signer::new(&format!("service-{number}"))).collect::<Result<Vec<_>>>()?;
    let (wall, built) = Clock::Wall.time(|| {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (audit, signers) = (Arc::clone(&audit), &signers);
                    scope.spawn(move || -> Result<()> {
                        for number in (thread..entries).step_by(THREADS) {
                            let signer = signers.get(number % signers.len()).ok_or("no signer")?;
                            audit.append(&signer.sign(number as u64)?.record())?;
                        }
                        Ok(())
                    })
                })
                .collect();
            threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread failed")?)
        })
    });
    built?;
    Ok((wall / entries as f64, folder.join(if sink == "file" { "audit" } else { "audit.sqlite" })))
}

fn bytes(folder: &Path) -> Result<usize> {
    let mut all = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        all += if metadata.is_dir() { bytes(&entry.path())? } else { usize::try_from(metadata.len())? };
    }
    Ok(all)
}

fn verify(report: &mut Report, name: String, path: &Path, entries: usize) -> Result<()> {
    let threads = thread::available_parallelism()?.get();
    let (floor, floor_worked) = floor(threads, entries.min(20_000))?;
    let output = Command::new(std::env::current_exe()?).arg("audited").arg(path).output()?;
    if !output.status.success() {
        return Err(format!("checking failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let mut words = text.split_whitespace();
    let (Some(good), Some(ns), Some(worked), Some(peak)) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("the process that checks said nothing".into());
    };
    if good.parse::<usize>()? != entries {
        return Err(format!("{good} of {entries} entries were good").into());
    }
    for (name, ns, floor) in [(format!("{name}/processor"), worked, floor_worked), (name, ns, floor)] {
        let ns: f64 = ns.parse::<f64>()? / entries as f64;
        report.add(Line {
            name,
            n: entries,
            threads,
            ns: Some(ns),
            floor_ns: Some(floor),
            ratio: Some(ns / floor),
            bytes: peak.parse().ok(),
            ..Line::default()
        })?;
    }
    Ok(())
}

/// Nanoseconds of a signature on the wall, on so many threads, and of all processors.
fn floor(threads: usize, entries: usize) -> Result<(f64, f64)> {
    let signer = Signer::new("floor")?;
    let signed = (0..entries as u64).map(|number| signer.sign(number)).collect::<Result<Vec<_>>>()?;
    let texts: Vec<&str> = signed.iter().map(|signed| signed.jws.as_str()).collect();
    let key = signer.key()?;
    let (mut times, mut works) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (worked, (wall, checked)) = Clock::Process.time(|| {
            Clock::Wall.time(|| {
                thread::scope(|scope| {
                    let size = texts.len().div_ceil(threads).max(1);
                    let parts: Vec<_> = texts
                        .chunks(size)
                        .map(|part| {
                            let key = &key;
                            scope.spawn(move || part.iter().try_for_each(|jws| strictly(key, jws)))
                        })
                        .collect();
                    parts.into_iter().try_for_each(|part| part.join().map_err(|_| "a thread failed")?)
                })
            })
        });
        checked?;
        times.push(wall / entries as f64);
        works.push(worked / entries as f64);
    }
    Ok((least(&times), least(&works)))
}

fn strictly(key: &ed25519_dalek::VerifyingKey, jws: &str) -> Result<()> {
    let (input, signature) = jws.rsplit_once('.').ok_or("no JWS")?;
    let signature = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(signature)?;
    let signature = ed25519_dalek::Signature::from_slice(&signature)?;
    Ok(key.verify_strict(input.as_bytes(), &signature)?)
}

/// Checks every entry, and prints how many are good, nanoseconds, and the peak of memory.
pub(crate) fn audited(path: &Path) -> Result<()> {
    let store = Store::open(path)?;
    let (worked, (wall, good)) = Clock::Process.time(|| {
        Clock::Wall.time(|| -> Result<usize> {
            let verifier = Verifier::builder().keys(store.keys()?).build();
            let mut good = 0;
            for checked in store.scan()?.check(&verifier, None)? {
                match checked? {
                    Checked::Entry(_, Ok(_)) => good += 1,
                    Checked::Entry(stored, Err(failure)) => {
                        return Err(format!("{}: {failure}", stored.place).into());
                    }
                    Checked::Finding(finding) => return Err(finding.to_string().into()),
                    _ => return Err("something that this program does not know".into()),
                }
            }
            Ok(good)
        })
    });
    let peak = of_status("VmHWM:").map_or_else(|| "-".to_owned(), |bytes| bytes.to_string());
    writeln!(io::stdout().lock(), "{} {wall} {worked} {peak}", good?)?;
    Ok(())
}

fn list(report: &mut Report, name: String, path: &Path, entries: usize) -> Result<()> {
    let text = |text: &str| Some(text.to_owned());
    let newest = Filter { newest_first: true, limit: Some(100), ..Filter::default() };
    let middle = Store::open(path)?.list(&newest)?.next().ok_or("an empty store")??.received_ms;
    let number = entries as u64 / 2;
    let parent = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let filters = [
        ("all", newest.clone()),
        ("since", Filter { since_ms: Some(middle - 1_000), newest_first: false, ..newest.clone() }),
        ("until", Filter { until_ms: Some(middle - 1_000), ..newest.clone() }),
        (
            "entry",
            Filter { entry_id: Some(format!("01900000-0000-7000-8000-{number:012x}")), ..newest.clone() },
        ),
        ("trace", Filter { trace_id: Some(format!("{:016x}{parent:016x}", number / 7)), ..newest.clone() }),
        ("workload", Filter { workload: text("spiffe://example.org/service-3"), ..newest.clone() }),
        ("operation", Filter { operation: text("shop.orders.step-17"), ..newest.clone() }),
        ("user", Filter { user: text("user-170"), ..newest.clone() }),
        ("taint", Filter { taint: text("unverified_input"), ..newest.clone() }),
        ("denied", Filter { denied: Some(true), ..newest.clone() }),
        // Both are common, together they are not: no entry is both.
        (
            "never-both",
            Filter {
                workload: text("spiffe://example.org/service-3"),
                operation: text("shop.orders.step-18"),
                ..newest
            },
        ),
    ];
    let mut slowest = 0.0_f64;
    for (what, filter) in filters {
        let mut times = Vec::new();
        for _ in 0..if entries > 100_000 && path.is_dir() { 1 } else { 5 } {
            let (wall, found) = Clock::Wall.time(|| -> Result<usize> {
                let mut found = 0;
                for stored in Store::open(path)?.list(&filter)? {
                    stored?;
                    found += 1;
                }
                Ok(found)
            });
            if (found? == 0) != (what == "never-both") {
                return Err(format!("the filter {what} finds something else than was stored").into());
            }
            times.push(wall);
        }
        let ns = least(&times);
        slowest = slowest.max(ns);
        report.add(Line {
            name: format!("{name}/{what}"),
            n: entries,
            threads: 1,
            ns: Some(ns),
            ..Line::default()
        })?;
    }
    report.add(Line { name, n: entries, threads: 1, ns: Some(slowest), ..Line::default() })
}
