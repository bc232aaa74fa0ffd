//! Every entry of a store checked by itself, on all cores, in order.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};

use kest_core::entry::KestEntry;
use kest_core::error::{AuditError, AuditErrorKind};
use kest_core::verify::{Verifier, VerifyFailure};
use parking_lot::Mutex;

use super::flow::{Flow, Load, MOST};
use super::{Finding, Scan, Seen, Stored};

/// Entries that a thread is given at once, at most.
const BATCH: usize = 512;

/// What [`Checks`] come across.
#[derive(Debug)]
#[non_exhaustive]
pub enum Checked {
    /// An entry, and what [`Verifier::check_each`] says of it, with [`Stored::received_ms`] as the time of receipt.
    Entry(Stored, Result<Arc<KestEntry>, VerifyFailure>),
    /// Something that is not as a sink has left it.
    Finding(Finding),
}

type Answers = (Vec<Result<Checked, AuditError>>, Load);

/// A walk through a whole store, each entry checked by itself. It may be dropped at any time.
#[must_use = "checks do nothing unless they are iterated"]
pub struct Checks {
    answers: VecDeque<Result<Checked, AuditError>>,
    /// What the answers take.
    load: Option<Load>,
    flow: Arc<Flow>,
    /// The answers to each batch, in order.
    batches: Option<Receiver<Receiver<Answers>>>,
    progress: Arc<Progress>,
    reader: Option<JoinHandle<Scan>>,
    workers: Vec<JoinHandle<()>>,
    scan: Option<Scan>,
}

#[derive(Debug, Default)]
struct Progress {
    done: AtomicU64,
    all: AtomicU64,
}

struct Job {
    batch: Vec<Result<Seen, AuditError>>,
    load: Load,
    answer: SyncSender<Answers>,
}

impl Checks {
    pub(super) fn start(scan: Scan, verifier: &Verifier, threads: Option<usize>) -> Result<Self, AuditError> {
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = threads.unwrap_or(cores).clamp(1, 4 * cores);
        let (jobs, work) = mpsc::sync_channel::<Job>(threads);
        let (order, batches) = mpsc::sync_channel(2 * threads);
        let progress = Arc::<Progress>::default();
        let (done, all) = scan.progress();
        progress.done.store(done, Ordering::Relaxed);
        progress.all.store(all, Ordering::Relaxed);
        let flow = Arc::<Flow>::default();
        let mut checks = Self {
            answers: VecDeque::new(),
            load: None,
            flow: Arc::clone(&flow),
            batches: Some(batches),
            progress: Arc::clone(&progress),
            reader: None,
            workers: Vec::new(),
            scan: None,
        };
        let cannot = |error| {
            AuditError::new(AuditErrorKind::Open, "the operating system gives no thread to check entries on")
                .with_source(error)
        };
        let work = Arc::new(Mutex::new(work));
        for _ in 0..threads {
            let (work, verifier) = (Arc::clone(&work), verifier.clone());
            let worker = thread::Builder::new().name("kest-audit-check".to_owned());
            checks.workers.push(worker.spawn(move || answer(&work, &verifier)).map_err(cannot)?);
        }
        let reader = thread::Builder::new().name("kest-audit-read".to_owned());
        let spawned = reader.spawn(move || {
            // As many as threads work on, as many that wait, and a little more.
            let bytes = MOST / (2 * threads + 2);
            read(scan, &progress, (&flow, bytes), &order, &jobs)
        });
        checks.reader = Some(spawned.map_err(cannot)?);
        Ok(checks)
    }

    /// How much was read, and of how much: bytes of segments, or rows. Of how much is 0 where that is not known.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        (self.progress.done.load(Ordering::Relaxed), self.progress.all.load(Ordering::Relaxed))
    }

    /// The scan behind it, with its keys and its [tip](Scan::tip); at the end of the store or wherever it has come to.
    /// None if it has failed.
    #[must_use]
    pub fn into_scan(mut self) -> Option<Scan> {
        self.stop();
        self.scan.take()
    }

    fn stop(&mut self) {
        self.batches = None;
        self.flow.close();
        if let Some(Ok(scan)) = self.reader.take().map(JoinHandle::join) {
            self.scan = Some(scan);
        }
        for worker in self.workers.drain(..) {
            // What a thread that panicked owed has been missed already.
            let _ = worker.join();
        }
    }
}

impl Iterator for Checks {
    type Item = Result<Checked, AuditError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return Some(answer);
            }
            // All of them have been taken, so there is room for others.
            self.load = None;
            match self.batches.as_ref()?.recv() {
                Ok(batch) => match batch.recv() {
                    Ok((answers, load)) => (self.answers, self.load) = (answers.into(), Some(load)),
                    Err(_) => {
                        self.stop();
                        return Some(Err(broken()));
                    }
                },
                // The reader has ended; well, if it has left its scan.
                Err(_) => {
                    self.stop();
                    return self.scan.is_none().then(|| Err(broken()));
                }
            }
        }
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checks").field("progress", &self.progress).finish_non_exhaustive()
    }
}

fn broken() -> AuditError {
    AuditError::new(AuditErrorKind::Closed, "a thread that checks the store has failed; please report it")
}

fn read(
    mut scan: Scan,
    progress: &Progress,
    (flow, bytes): (&Arc<Flow>, usize),
    order: &SyncSender<Receiver<Answers>>,
    jobs: &SyncSender<Job>,
) -> Scan {
    loop {
        let (mut batch, mut size) = (Vec::new(), 0);
        while batch.len() < BATCH
            && size < bytes
            && let Some(seen) = scan.advance()
        {
            size += weight(&seen);
            batch.push(seen);
        }
        let (done, all) = scan.progress();
        progress.done.store(done, Ordering::Relaxed);
        progress.all.store(all, Ordering::Relaxed);
        if batch.is_empty() {
            return scan;
        }
        // Nobody wants to know any more.
        let Some(load) = flow.enter(size) else { return scan };
        let (answer, answers) = mpsc::sync_channel(1);
        if order.send(answers).is_err() || jobs.send(Job { batch, load, answer }).is_err() {
            return scan;
        }
    }
}

/// What it takes in memory, with what is made of it: an entry that was parsed is several times as large as its text.
fn weight(seen: &Result<Seen, AuditError>) -> usize {
    const AROUND: usize = 512;
    const PARSED: usize = 8;
    AROUND
        + match seen {
            Ok(Seen::Entry(stored)) => PARSED * stored.jws.len(),
            Ok(Seen::Finding(finding)) => finding.detail.len(),
            Err(_) => 0,
        }
}

fn answer(work: &Mutex<Receiver<Job>>, verifier: &Verifier) {
    loop {
        let job = work.lock().recv();
        let Ok(Job { batch, load, answer }) = job else { return };
        let entries: Vec<(&str, u64)> = batch
            .iter()
            .filter_map(|seen| match seen {
                Ok(Seen::Entry(stored)) => Some((stored.jws.as_str(), stored.received_ms)),
                Ok(Seen::Finding(_)) | Err(_) => None,
            })
            .collect();
        let mut verdicts = verifier.check_each(&entries).into_iter();
        let mut answers = Vec::with_capacity(batch.len());
        for seen in batch {
            match seen {
                Err(error) => answers.push(Err(error)),
                Ok(Seen::Finding(finding)) => answers.push(Ok(Checked::Finding(finding))),
                Ok(Seen::Entry(mut stored)) => {
                    let verdict = verdicts.next().unwrap_or(Err(VerifyFailure::Signature));
                    let finding = match &verdict {
                        Ok(entry) => stored.misfiled(Some(entry)),
                        Err(_) => stored.misfiled(None),
                    };
                    answers.extend(finding.map(|finding| Ok(Checked::Finding(finding))));
                    answers.push(Ok(Checked::Entry(stored, verdict)));
                }
            }
        }
        // Nobody wants to know any more.
        let _ = answer.send((answers, load));
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};
    use std::{env, fs, process};

    use kest_core::audit::{AuditRecord, AuditSink as _};
    use kest_core::identity::IdentityProvider as _;

    use super::*;
    use crate::audit::item::LONGEST_TEXT;
    use crate::audit::{FileAudit, Store};
    use crate::identity::LocalEd25519Provider;

    #[test]
    fn entries_of_any_size_keep_what_is_under_way_within_bounds() {
        let folder = env::temp_dir().join(format!("kest-audit-flow-{}", process::id()));
        let _ = fs::remove_dir_all(&folder);
        let signer = LocalEd25519Provider::new().unwrap();
        let sink = FileAudit::builder(&folder).rotate_bytes(1 << 30).open().unwrap();
        // As large as a sink takes them: a JWS is a third larger than its payload.
        let large = "x".repeat(LONGEST_TEXT / 4 * 3 - 400);
        for number in 0..80 {
            let text = if number % 8 == 7 { "small" } else { &*large };
            let jws = signer.sign(format!("{{\"n\":{number},\"x\":\"{text}\"}}").as_bytes()).unwrap();
            let hash = jws.hash();
            sink.append(&AuditRecord::new(jws.as_str(), &hash, "id", "w", &signer)).unwrap();
        }
        drop(sink);
        let verifier = Verifier::builder().keys(Store::open(&folder).unwrap().keys().unwrap()).build();
        for threads in [1, 8] {
            let scan = Store::open(&folder).unwrap().scan().unwrap();
            let mut checks = scan.check(&verifier, Some(threads)).unwrap();
            let flow = Arc::clone(&checks.flow);
            let mut places = Vec::new();
            let deadline = Instant::now() + Duration::from_secs(60);
            for checked in &mut checks {
                // Nothing is taken until there is no room for more.
                while flow.peak() < MOST / 2 {
                    assert!(Instant::now() < deadline, "{} under way at most", flow.peak());
                    thread::yield_now();
                }
                match checked.unwrap() {
                    Checked::Entry(stored, verdict) => {
                        assert!(verdict.is_err(), "they are no entries of kest");
                        places.push(stored.place.to_string());
                    }
                    Checked::Finding(finding) => panic!("{finding}"),
                }
            }
            let in_order: Vec<String> = (3..83).map(|line| format!("0000000001.jsonl:{line}")).collect();
            assert_eq!(places, in_order);
            let peak = flow.peak();
            assert!(peak <= MOST, "{peak} with {threads} threads");
            // Dropped in the middle, with a reader that waits for room.
            let mut checks =
                Store::open(&folder).unwrap().scan().unwrap().check(&verifier, Some(threads)).unwrap();
            assert!(checks.next().is_some());
            drop(checks);
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
