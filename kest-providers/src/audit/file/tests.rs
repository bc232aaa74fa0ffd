//! Each step of the disk fails, or is the last one.

mod full;
#[cfg(unix)]
mod power;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kest_core::audit::{AuditRecord, AuditSink as _};
use kest_core::config::Durability;
use kest_core::error::AuditErrorKind;
use kest_core::identity::IdentityProvider as _;
use kest_core::jws::Jws;
use parking_lot::Mutex;

use super::disk::{Disk, RealDisk};
use super::{FileAudit, FileAuditBuilder};
use crate::audit::{FindingKind, Seen, Store};
use crate::identity::LocalEd25519Provider;

/// What happens at the step that is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The process ends there; of a write, a part has happened.
    Dies(Part),
    /// An error, once; of a write, a part has happened.
    Fails(Part),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Nothing,
    Half,
    All,
}

#[derive(Debug, Clone)]
struct Unlucky(Arc<Plan>);

#[derive(Debug)]
struct Plan {
    at: u64,
    fate: Fate,
    step: AtomicU64,
    met: Mutex<Option<&'static str>>,
}

impl Unlucky {
    fn new(at: u64, fate: Fate) -> Self {
        Self(Arc::new(Plan { at, fate, step: AtomicU64::new(0), met: Mutex::default() }))
    }

    fn step(&self, name: &'static str, whole: impl FnOnce(Part) -> io::Result<()>) -> io::Result<()> {
        let step = self.0.step.fetch_add(1, Ordering::SeqCst);
        let gone = || io::Error::other("the process is gone");
        let part = match self.0.fate {
            Fate::Dies(_) if step > self.0.at => return Err(gone()),
            Fate::Dies(part) | Fate::Fails(part) if step == self.0.at => part,
            Fate::Dies(_) | Fate::Fails(_) => return whole(Part::All),
        };
        *self.0.met.lock() = Some(name);
        match part {
            Part::Nothing => {}
            Part::Half | Part::All => whole(part)?,
        }
        Err(io::Error::from_raw_os_error(5))
    }
}

impl Disk for Unlucky {
    fn create(&self, path: &Path) -> io::Result<File> {
        let mut file = None;
        self.step("create", |_| {
            file = Some(RealDisk.create(path)?);
            Ok(())
        })?;
        file.ok_or_else(|| io::Error::other("no file"))
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        self.step("write", |part| match part {
            Part::Half => file.write_all(&bytes[..bytes.len() / 2]),
            Part::Nothing | Part::All => file.write_all(bytes),
        })
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.step("sync", |_| RealDisk.sync(file))
    }

    fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        self.step("cut", |_| RealDisk.cut(file, length))
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.step("sync_folder", |_| RealDisk.sync_folder(folder))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step("remove", |_| RealDisk.remove(path))
    }

    fn put_aside(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step("put_aside", |_| RealDisk.put_aside(from, to))
    }

    fn keep(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step("keep", |_| RealDisk.keep(path, bytes))
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("kest-audit-steps-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn builder(folder: &Folder, durability: Durability) -> FileAuditBuilder {
    FileAuditBuilder {
        retry: Duration::ZERO,
        ..FileAudit::builder(&folder.0).rotate_bytes(3_000).durability(durability)
    }
}

fn signed(signer: &LocalEd25519Provider, number: usize) -> Jws {
    signer.sign(format!("{{\"n\":{number},\"x\":\"{}\"}}", "y".repeat(300)).as_bytes()).unwrap()
}

fn append(sink: &FileAudit, signer: &LocalEd25519Provider, jws: &Jws) -> Result<(), AuditErrorKind> {
    let hash = jws.hash();
    sink.append(&AuditRecord::new(jws.as_str(), &hash, "id", "w", signer)).map_err(|error| error.kind())
}

/// Everything in the store; findings are those of an honest one.
fn stored(folder: &Folder) -> Vec<String> {
    let mut all = Vec::new();
    for seen in Store::open(&folder.0).unwrap().scan().unwrap() {
        match seen.unwrap() {
            Seen::Entry(entry) => all.push(entry.jws),
            Seen::Finding(finding) => assert!(!finding.kind.is_damage(), "{finding}"),
        }
    }
    all
}

#[track_caller]
fn has(stored: &[String], acknowledged: &[String], what: &str) {
    for jws in acknowledged {
        let count = stored.iter().filter(|other| *other == jws).count();
        assert_eq!(count, 1, "{what}: an acknowledged entry is there {count} times");
    }
}

const ENTRIES: usize = 12;

#[test]
fn killed_at_each_step_it_loses_nothing() {
    let signer = LocalEd25519Provider::new().unwrap();
    let (mut kills, mut torn) = (0, 0);
    for durability in [Durability::Process, Durability::Power] {
        for part in [Part::Nothing, Part::Half, Part::All] {
            for at in 0.. {
                let folder = Folder::new();
                let disk = Unlucky::new(at, Fate::Dies(part));
                let what = format!("{durability:?} {part:?} {at}");
                let mut acknowledged = Vec::new();
                if let Ok(sink) = builder(&folder, durability).open_on(disk.clone()) {
                    for number in 0..ENTRIES {
                        let jws = signed(&signer, number);
                        if append(&sink, &signer, &jws).is_ok() {
                            acknowledged.push(jws.into_string());
                        }
                    }
                }
                if disk.0.met.lock().is_none() {
                    assert_eq!(acknowledged.len(), ENTRIES);
                    break;
                }
                kills += 1;
                let sink =
                    builder(&folder, durability).open().unwrap_or_else(|error| panic!("{what}: {error}"));
                has(&stored(&folder), &acknowledged, &what);
                let jws = signed(&signer, 99);
                append(&sink, &signer, &jws).unwrap();
                acknowledged.push(jws.into_string());
                drop(sink);
                has(&stored(&folder), &acknowledged, &what);
                let aside = fs::read_dir(&folder.0).unwrap();
                torn += aside
                    .filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|x| x == "torn"))
                    .count();
            }
        }
    }
    assert!(kills > 100 && torn > 10, "{kills} kills, {torn} torn tails");
}

#[test]
fn after_an_error_at_any_step_it_takes_entries_again_and_none_that_it_refused_counts() {
    let signer = LocalEd25519Provider::new().unwrap();
    let mut failures = 0;
    for durability in [Durability::Process, Durability::Power] {
        for part in [Part::Nothing, Part::Half, Part::All] {
            for at in 0.. {
                let folder = Folder::new();
                let disk = Unlucky::new(at, Fate::Fails(part));
                let what = format!("{durability:?} {part:?} {at}");
                let (mut acknowledged, mut refused) = (Vec::new(), Vec::new());
                let Ok(sink) = builder(&folder, durability).open_on(disk.clone()) else { continue };
                for number in 0..ENTRIES {
                    let jws = signed(&signer, number);
                    match append(&sink, &signer, &jws) {
                        Ok(()) => acknowledged.push(jws.into_string()),
                        Err(kind) => {
                            assert_eq!(kind, AuditErrorKind::Write, "{what}");
                            refused.push(jws.into_string());
                        }
                    }
                }
                let met = *disk.0.met.lock();
                drop(sink);
                let stored = stored(&folder);
                has(&stored, &acknowledged, &what);
                let Some(met) = met else {
                    assert_eq!(acknowledged.len(), ENTRIES);
                    break;
                };
                failures += 1;
                assert!(refused.len() <= 1, "{what} ({met}): {} calls were refused", refused.len());
                // What was refused has been taken back.
                assert!(refused.iter().all(|jws| !stored.contains(jws)), "{what} ({met})");
                drop(builder(&folder, durability).open().unwrap_or_else(|error| panic!("{what}: {error}")));
            }
        }
    }
    assert!(failures > 100, "{failures}");
}

#[test]
fn a_file_that_failed_to_flush_is_not_written_again() {
    #[derive(Debug)]
    struct NoFlush(AtomicU64);

    impl Disk for NoFlush {
        fn sync(&self, file: &File) -> io::Result<()> {
            // The first is the head's, the second that of the first entry.
            match self.0.fetch_add(1, Ordering::SeqCst) {
                2 => Err(io::Error::from_raw_os_error(5)),
                _ => file.sync_data(),
            }
        }

        fn cut(&self, _: &File, _: u64) -> io::Result<()> {
            Err(io::Error::from_raw_os_error(5))
        }
    }

    let signer = LocalEd25519Provider::new().unwrap();
    let folder = Folder::new();
    let sink = builder(&folder, Durability::Power).open_on(NoFlush(AtomicU64::new(0))).unwrap();
    let all: Vec<Jws> = (0..3).map(|number| signed(&signer, number)).collect();
    append(&sink, &signer, &all[0]).unwrap();
    assert_eq!(append(&sink, &signer, &all[1]), Err(AuditErrorKind::Write));
    append(&sink, &signer, &all[2]).unwrap();
    drop(sink);
    let mut kinds = Vec::new();
    let mut places = Vec::new();
    for seen in Store::open(&folder.0).unwrap().scan().unwrap() {
        match seen.unwrap() {
            Seen::Finding(finding) => kinds.push(finding.kind),
            Seen::Entry(entry) => places.push(entry.place.to_string()),
        }
    }
    assert_eq!(kinds, [FindingKind::Unacknowledged]);
    assert_eq!(places, ["0000000001.jsonl:3", "0000000001.jsonl:4", "0000000002.jsonl:3"]);
}

#[test]
fn a_device_that_hangs_ends_in_an_error_in_time() {
    #[derive(Debug)]
    struct Hangs(Arc<parking_lot::Mutex<()>>, AtomicU64);

    impl Disk for Hangs {
        fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
            // Not the head.
            if self.1.fetch_add(1, Ordering::SeqCst) > 0 {
                drop(self.0.lock());
            }
            file.write_all(bytes)
        }
    }

    let signer = LocalEd25519Provider::new().unwrap();
    let folder = Folder::new();
    let gate = Arc::new(parking_lot::Mutex::new(()));
    let held = gate.lock();
    let sink = builder(&folder, Durability::Process)
        .timeout(Duration::from_millis(50))
        .queue_bytes(1)
        .open_on(Hangs(Arc::clone(&gate), AtomicU64::new(0)))
        .unwrap();
    let first = signed(&signer, 0);
    let kinds = std::thread::scope(|scope| {
        let calls: Vec<_> =
            (0..4).map(|_| scope.spawn(|| append(&sink, &signer, &first).unwrap_err())).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(kinds.contains(&AuditErrorKind::Timeout), "{kinds:?}");
    assert!(kinds.contains(&AuditErrorKind::Full), "{kinds:?}");
    drop(held);
    let after = signed(&signer, 1);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while append(&sink, &signer, &after).is_err() {
        assert!(std::time::Instant::now() < deadline, "it does not take entries again");
    }
}
