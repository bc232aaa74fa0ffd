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

use super::{Finding, Scan, Seen, Stored};

/// Entries that a thread is given at once.
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

type Answers = Vec<Result<Checked, AuditError>>;

/// A walk through a whole store, each entry checked by itself. It may be dropped at any time.
#[must_use = "checks do nothing unless they are iterated"]
pub struct Checks {
    answers: VecDeque<Result<Checked, AuditError>>,
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
    answer: SyncSender<Answers>,
}

impl Checks {
    pub(super) fn start(scan: Scan, verifier: &Verifier, threads: Option<usize>) -> Result<Self, AuditError> {
        let cores = || thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = threads.unwrap_or_else(cores).max(1);
        let (jobs, work) = mpsc::sync_channel::<Job>(threads);
        let (order, batches) = mpsc::sync_channel(2 * threads);
        let progress = Arc::<Progress>::default();
        let (done, all) = scan.progress();
        progress.done.store(done, Ordering::Relaxed);
        progress.all.store(all, Ordering::Relaxed);
        let mut checks = Self {
            answers: VecDeque::new(),
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
        let spawned = reader.spawn(move || read(scan, &progress, &order, &jobs));
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
            match self.batches.as_ref()?.recv() {
                Ok(batch) => match batch.recv() {
                    Ok(answers) => self.answers = answers.into(),
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
    order: &SyncSender<Receiver<Answers>>,
    jobs: &SyncSender<Job>,
) -> Scan {
    loop {
        let batch: Vec<_> = std::iter::from_fn(|| scan.advance()).take(BATCH).collect();
        let (done, all) = scan.progress();
        progress.done.store(done, Ordering::Relaxed);
        progress.all.store(all, Ordering::Relaxed);
        if batch.is_empty() {
            return scan;
        }
        let (answer, answers) = mpsc::sync_channel(1);
        // Nobody wants to know any more.
        if order.send(answers).is_err() || jobs.send(Job { batch, answer }).is_err() {
            return scan;
        }
    }
}

fn answer(work: &Mutex<Receiver<Job>>, verifier: &Verifier) {
    loop {
        let job = work.lock().recv();
        let Ok(Job { batch, answer }) = job else { return };
        let entries: Vec<(&str, u64)> = batch
            .iter()
            .filter_map(|seen| match seen {
                Ok(Seen::Entry(stored)) => Some((stored.jws.as_str(), stored.received_ms)),
                Ok(Seen::Finding(_)) | Err(_) => None,
            })
            .collect();
        let mut verdicts = verifier.check_each(&entries).into_iter();
        let mut answers = Answers::with_capacity(batch.len());
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
        let _ = answer.send(answers);
    }
}
