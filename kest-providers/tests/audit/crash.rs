//! The process is killed under load: what was acknowledged is there.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, io, thread};

use kest_core::audit::AuditSink;
use kest_core::error::AuditErrorKind;
use kest_providers::audit::{FileAudit, Finding, FindingKind, Seen, Store};

use crate::support::{Folder, KINDS, Kind, read, sample, signer};

const FOLDER: &str = "KEST_TEST_AUDIT_FOLDER";
const KIND: &str = "KEST_TEST_AUDIT_KIND";

/// Kills per kind of store.
const KILLS: usize = 100;

#[test]
#[ignore = "what the crash tests kill"]
fn child() {
    let (folder, kind) = (env::var(FOLDER).unwrap(), env::var(KIND).unwrap());
    let kind = *KINDS.iter().find(|known| format!("{known:?}") == kind).unwrap();
    let folder = Path::new(&folder);
    let sink: Arc<dyn AuditSink> = match kind {
        // Segments are ended all the time.
        Kind::File => Arc::new(FileAudit::builder(kind.path(folder)).rotate_bytes(200_000).open().unwrap()),
        #[cfg(feature = "sqlite")]
        Kind::Sqlite => kind.open(folder).unwrap(),
    };
    let say = |line: String| io::stdout().lock().write_all(line.as_bytes()).unwrap();
    say("\nready\n".to_owned());
    thread::scope(|scope| {
        for thread in 0..4 {
            let sink = &sink;
            scope.spawn(move || {
                let signer = signer(&format!("child-{thread}"));
                for number in 0.. {
                    let sample = sample(&signer, number);
                    match sink.append(&sample.record()) {
                        Ok(()) => say(format!("ack {}\n", sample.jws)),
                        Err(error) => say(format!("err {:?} {error}\n", error.kind())),
                    }
                }
            });
        }
    });
}

fn command(folder: &Path, kind: Kind) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["crash::child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(KIND, format!("{kind:?}"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// Ends with the test, whatever happens.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn random(below: u64) -> u64 {
    RandomState::new().build_hasher().finish() % below
}

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    for kind in KINDS {
        let mut acknowledged = 0;
        let mut torn = 0;
        let mut folder = Folder::new();
        let mut before: Vec<String> = Vec::new();
        for kill in 0..KILLS {
            if kill % 10 == 0 {
                folder = Folder::new();
                before.clear();
            }
            let mut child = Running(command(folder.path(), *kind).spawn().unwrap());
            let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
            assert!(lines.any(|line| line.unwrap() == "ready"), "it did not start");
            // Some kills come before the first entry, some in the middle of many.
            let killer = thread::spawn(move || {
                thread::sleep(Duration::from_micros(random(60_000)));
                child.0.kill().unwrap();
                child.0.wait().unwrap();
            });
            let mut acks: Vec<String> = Vec::new();
            for line in lines.map_while(Result::ok) {
                // The last line may be cut off.
                match line.strip_prefix("ack ") {
                    Some(jws) if jws.split('.').count() == 3 && jws.len() > 800 => acks.push(jws.to_owned()),
                    Some(_) | None => assert!(!line.starts_with("err"), "{line}"),
                }
            }
            killer.join().unwrap();
            // Opening repairs.
            let findings = read(&kind.store(folder.path())).1;
            torn += findings.len();
            assert!(findings.iter().all(|finding| !finding.kind.is_damage()), "{kind:?}: {findings:?}");
            drop(kind.open(folder.path()).unwrap());
            let (entries, findings) = read(&kind.store(folder.path()));
            assert!(findings.iter().all(is_aside), "{kind:?} after kill {kill}: {findings:?}");
            let stored: HashSet<&str> = entries.iter().map(|stored| stored.jws.as_str()).collect();
            assert_eq!(stored.len(), entries.len(), "an entry is there twice");
            let last = acks.pop();
            for jws in before.iter().chain(&acks) {
                assert!(stored.contains(jws.as_str()), "{kind:?}: lost after kill {kill}");
            }
            // Whether the last line is whole can only be told by its presence.
            let whole = last.filter(|jws| stored.contains(jws.as_str()));
            acknowledged += acks.len();
            before.append(&mut acks);
            before.extend(whole);
        }
        assert!(acknowledged > KILLS, "too little load to say anything: {acknowledged}");
        println!(
            "{kind:?}: {KILLS} kills, {acknowledged} acknowledged entries, {torn} torn tails, none lost"
        );
    }
}

/// What opening has put aside stays beside the store.
fn is_aside(finding: &Finding) -> bool {
    finding.kind == FindingKind::Aside
}

/// The child with files that may not grow beyond so many blocks of 512 bytes, as `shell` has it.
#[cfg(unix)]
fn limited(folder: &Path, kind: Kind, shell: &str) -> Running {
    let inner = command(folder, kind);
    let mut outer = Command::new("sh");
    outer.args(["-c", &format!("{shell}; exec \"$0\" \"$@\"")]).arg(inner.get_program());
    outer.args(inner.get_args()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    for (name, value) in inner.get_envs() {
        outer.env(name, value.unwrap());
    }
    Running(outer.spawn().unwrap())
}

/// The kernel ends a process by a signal when it writes to a file beyond its limit, and of a write across it only the
/// part before it is done: so each write is torn at some place, and the process is gone.
#[cfg(unix)]
#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed_within_a_write() {
    for kind in KINDS {
        let (step, kills) = match kind {
            Kind::File => (1, 120),
            // The tables are made first, which is more.
            #[cfg(feature = "sqlite")]
            Kind::Sqlite => (7, 120),
        };
        let (mut acknowledged, mut torn) = (0, 0);
        for kill in 1..=kills {
            let folder = Folder::new();
            let shell = format!("ulimit -c 0; ulimit -f {}", kill * step);
            let mut child = limited(folder.path(), *kind, &shell);
            let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
            let mut acks: Vec<String> = Vec::new();
            for line in lines.map_while(Result::ok) {
                match line.strip_prefix("ack ") {
                    Some(jws) => acks.push(jws.to_owned()),
                    None => assert!(!line.starts_with("err"), "{line}"),
                }
            }
            let status = child.0.wait().unwrap();
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(25), "SIGXFSZ: {status}");
            // What it was about to say when it ended.
            let unsure = acks.pop();
            if kind.path(folder.path()).exists()
                && let Ok(scan) = Store::open(kind.path(folder.path())).and_then(|store| store.scan())
            {
                torn += scan.filter(|seen| matches!(seen, Ok(Seen::Finding(_)))).count();
            }
            let sink =
                kind.open(folder.path()).unwrap_or_else(|error| panic!("{kind:?}, kill {kill}: {error}"));
            let last = sample(&signer("after"), 7);
            sink.append(&last.record()).unwrap();
            drop(sink);
            let (entries, findings) = read(&kind.store(folder.path()));
            assert!(findings.iter().all(is_aside), "{kind:?} after kill {kill}: {findings:?}");
            let stored: HashSet<&str> = entries.iter().map(|stored| stored.jws.as_str()).collect();
            assert_eq!(stored.len(), entries.len(), "an entry is there twice");
            assert!(stored.contains(last.jws.as_str()));
            for jws in
                acks.iter().chain(unsure.iter().filter(|jws| jws.split('.').count() == 3 && jws.len() > 800))
            {
                assert!(stored.contains(jws.as_str()), "{kind:?}: lost after kill {kill}");
            }
            acknowledged += acks.len();
        }
        assert!(acknowledged > kills, "too little load to say anything: {acknowledged}");
        println!(
            "{kind:?}: {kills} kills within a write, {acknowledged} acknowledged entries, {torn} torn tails, none lost"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_may_not_grow_is_refused_and_loses_nothing() {
    for kind in KINDS {
        let folder = Folder::new();
        // A write beyond is an error instead of a signal.
        let mut child = limited(folder.path(), *kind, "trap '' XFSZ; ulimit -f 300");
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let deadline = Instant::now() + Duration::from_secs(60);
        let (mut acks, mut refused) = (Vec::new(), 0);
        while refused < 50 && Instant::now() < deadline {
            let Some(line) = lines.next() else { break };
            let line = line.unwrap();
            if let Some(jws) = line.strip_prefix("ack ") {
                acks.push(jws.to_owned());
            } else if let Some(error) = line.strip_prefix("err ") {
                let known = [AuditErrorKind::Full, AuditErrorKind::Write];
                assert!(known.iter().any(|kind| error.starts_with(&format!("{kind:?}"))), "{error}");
                refused += 1;
            }
        }
        drop(child);
        assert_eq!(refused, 50, "{} acknowledged", acks.len());
        drop(kind.open(folder.path()).unwrap());
        let (entries, findings) = read(&kind.store(folder.path()));
        assert!(findings.iter().all(is_aside), "{findings:?}");
        let stored: HashSet<&str> = entries.iter().map(|stored| stored.jws.as_str()).collect();
        assert!(
            acks.iter().all(|jws| stored.contains(jws.as_str())),
            "{kind:?}: an acknowledged entry is lost"
        );
        assert!(!acks.is_empty());
    }
}
