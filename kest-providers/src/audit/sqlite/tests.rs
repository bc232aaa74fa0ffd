//! The process ends between any two things that the writer asks of SQLite.

use std::collections::HashSet;
use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kest_core::audit::{AuditRecord, AuditSink as _};
use kest_core::identity::IdentityProvider as _;
use kest_core::jws::Jws;

mod find;
mod log;
mod tamper;

use super::{SqliteAudit, SqliteAuditBuilder};
use crate::audit::item::tests::entry;
use crate::audit::{Durability, Seen, Store};
use crate::identity::LocalEd25519Provider;

const FILE: &str = "KEST_TEST_STEPS_FILE";
const AT: &str = "KEST_TEST_STEPS_AT";
const POWER: &str = "KEST_TEST_STEPS_POWER";

/// Steps until the process ends; below zero it goes on.
static LEFT: AtomicI64 = AtomicI64::new(-1);

pub(super) fn step() {
    if LEFT.load(Ordering::SeqCst) >= 0 && LEFT.fetch_sub(1, Ordering::SeqCst) == 0 {
        // As by a signal: nothing is flushed, nothing dropped.
        std::process::abort();
    }
}

const ENTRIES: u64 = 24;
const OLD: u64 = 5;
/// Entries of a block, so that several are completed.
const BLOCK: u16 = 4;

/// Of log, so that it is brought into the database now and then.
const LOG_BYTES: usize = 45_000;

fn small_blocks(file: &Path, block: u16) -> SqliteAuditBuilder {
    SqliteAuditBuilder { block, log_bytes: LOG_BYTES, ..SqliteAudit::builder(file) }
}

fn durability(power: bool) -> Durability {
    if power { Durability::Power } else { Durability::Process }
}

#[test]
#[ignore = "what `killed_at_each_step_it_loses_nothing` kills"]
fn child() {
    let path = PathBuf::from(env::var(FILE).unwrap());
    let power = env::var(POWER).unwrap() == "true";
    // What was written before is too old after this time.
    let builder =
        small_blocks(&path, BLOCK).durability(durability(power)).retain_age(Duration::from_millis(1));
    LEFT.store(env::var(AT).unwrap().parse().unwrap(), Ordering::SeqCst);
    let sink = builder.open().unwrap();
    let signers = [LocalEd25519Provider::new().unwrap(), LocalEd25519Provider::new().unwrap()];
    for number in 0..ENTRIES {
        let signer = &signers[usize::from(number % 2 == 0)];
        let jws = entry(signer, number, &["pii", "raw"]);
        append(&sink, signer, &jws);
        say(&format!("\nack {}\n", jws.as_str()));
    }
    say("\nall\n");
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).unwrap();
    out.flush().unwrap();
}

fn append(sink: &SqliteAudit, signer: &LocalEd25519Provider, jws: &Jws) {
    let (hash, workload) = (jws.hash(), signer.workload_id().unwrap());
    sink.append(&AuditRecord::new(jws.as_str(), &hash, "id", &workload, signer)).unwrap();
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("kest-audit-rows-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Entries from before, and a time that has passed since.
fn old(file: &Path) -> Vec<String> {
    let signer = LocalEd25519Provider::new().unwrap();
    let sink = small_blocks(file, BLOCK).open().unwrap();
    let entries: Vec<Jws> = (0..OLD).map(|number| entry(&signer, 1_000 + number, &["pii"])).collect();
    entries.iter().for_each(|jws| append(&sink, &signer, jws));
    drop(sink);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(5) {
        std::thread::yield_now();
    }
    entries.into_iter().map(Jws::into_string).collect()
}

/// Runs the child until that step: what it was told, and whether it came to its end.
fn run(file: &Path, at: u64, power: bool) -> (Vec<String>, bool) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["audit::sqlite::tests::child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(FILE, file)
        .env(AT, at.to_string())
        .env(POWER, power.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines: Vec<String> =
        BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap()).collect();
    child.wait().unwrap();
    let acks = lines.iter().filter_map(|line| line.strip_prefix("ack ")).map(str::to_owned).collect();
    (acks, lines.iter().any(|line| line == "all"))
}

#[test]
fn killed_at_each_step_it_loses_nothing() {
    let (mut kills, mut retired, mut blocks) = (0, 0, 0);
    for power in [false, true] {
        for at in 0.. {
            let folder = Folder::new();
            let file = folder.0.join("audit.sqlite");
            let what = format!("power {power}, step {at}");
            // Old enough for the child to delete.
            let mut acks = old(&file);
            let (told, whole) = run(&file, at, power);
            acks.extend(told);
            // Opening takes over what the log has.
            let sink = SqliteAudit::builder(&file).durability(durability(power)).open().unwrap();
            let signer = LocalEd25519Provider::new().unwrap();
            let last = entry(&signer, 99, &["pii"]);
            append(&sink, &signer, &last);
            drop(sink);
            let (mut stored, mut first) = (Vec::new(), None);
            for seen in Store::open(&file).unwrap().scan().unwrap() {
                match seen.unwrap() {
                    Seen::Entry(entry) => {
                        first.get_or_insert_with(|| entry.place.to_string());
                        stored.push(entry.jws);
                    }
                    Seen::Finding(finding) => panic!("{what}: {finding}"),
                }
            }
            blocks += complete_blocks(&file);
            // Retention takes the oldest alone: what is left is the end of what was acknowledged.
            let gone = first.unwrap().strip_prefix("entry ").unwrap().parse::<usize>().unwrap() - 1;
            retired += usize::from(gone > 0);
            let distinct: HashSet<&String> = stored.iter().collect();
            assert_eq!(distinct.len(), stored.len(), "{what}: an entry is there twice");
            let kept = acks.get(gone.min(acks.len())..).unwrap();
            assert!(stored.starts_with(kept), "{what}: an acknowledged entry is lost");
            // At most the one that was under way is there beside them.
            assert!(stored.len() <= kept.len() + 2, "{what}");
            assert_eq!(stored.last().map(String::as_str), Some(last.as_str()), "{what}");
            if whole {
                assert_eq!(acks.len() as u64, OLD + ENTRIES);
                break;
            }
            kills += 1;
        }
    }
    assert!(kills > 300 && retired > 20, "{kills} kills, {retired} after retention");
    assert!(blocks > kills, "{blocks} blocks were complete");
    say(&format!("{kills} kills at a step, {retired} of them after retention, none lost\n"));
}

fn complete_blocks(file: &Path) -> i64 {
    let db = rusqlite::Connection::open(file).unwrap();
    db.query_row("SELECT count(*) / 7 FROM postings", [], |row| row.get(0)).unwrap()
}
