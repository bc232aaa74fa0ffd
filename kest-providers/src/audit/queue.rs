//! One writer thread, and the calls that wait for it. Spec §14.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use kest_core::audit::{AuditRecord, RecordKind};
use kest_core::error::{AuditError, AuditErrorKind};
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::failure::Failure;
use super::item::{Columns, Item, KnownKeys};

/// Writes what it is given, on the writer thread.
pub(super) trait Backend: Send + 'static {
    /// Writes the items to the promised durability, all of them but those that it puts into `refused`.
    ///
    /// An error means that none of them is acknowledged, and that nothing is written before [`Self::repair`].
    fn write(&mut self, items: &[&Item], refused: &mut Vec<(usize, Failure)>) -> Result<(), Failure>;

    /// Brings the store back to what was acknowledged.
    fn repair(&mut self) -> Result<(), Failure>;

    /// Ends it.
    fn close(&mut self) -> Result<(), Failure>;

    /// Most bytes of items in one [`Self::write`].
    fn batch_bytes(&self) -> usize;
}

/// How the queue behaves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) timeout: Duration,
    pub(super) queue_bytes: usize,
    /// Whether items carry columns.
    pub(super) columns: bool,
    /// Time between two attempts to repair.
    pub(super) retry: Duration,
}

/// What [`Settings::retry`] is.
pub(super) const RETRY: Duration = Duration::from_millis(200);

/// A sink's front: takes records, waits for the writer.
pub(super) struct Queue {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    settings: Settings,
    keys: Arc<KnownKeys>,
    state: Mutex<State>,
    /// There is work, or the end.
    work: Condvar,
    /// There is a deadline, or the end.
    tick: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// Calls that wait for room.
    room: Vec<Arc<Slot>>,
    /// In order, as all wait equally long.
    deadlines: VecDeque<(Instant, Arc<Slot>)>,
    clock_sleeps: bool,
    closing: bool,
    /// The writer has ended; with an error if it could not end well.
    ended: Option<Result<(), Failure>>,
}

struct Job {
    item: Item,
    slot: Arc<Slot>,
}

/// Where one call waits.
#[derive(Default)]
struct Slot {
    done: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    result: Option<Result<(), Failure>>,
    waker: Option<Waker>,
    queued: bool,
    in_room: bool,
    /// Has its deadline.
    timed: bool,
}

impl Slot {
    fn finish(&self, result: Result<(), Failure>) {
        let waker = {
            let mut inner = self.inner.lock();
            if self.done.swap(true, Ordering::AcqRel) {
                return;
            }
            inner.result = Some(result);
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    fn has_room(&self) {
        let waker = {
            let mut inner = self.inner.lock();
            inner.in_room = false;
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A call that waits; when it gives up, the writer need not write.
struct Waiting(Arc<Slot>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.done.store(true, Ordering::Release);
    }
}

enum Offer {
    Taken,
    NoRoom(Item),
    Refused(Failure),
}

impl Queue {
    /// Starts the threads of a sink.
    pub(super) fn start(
        backend: impl Backend,
        settings: Settings,
        keys: Arc<KnownKeys>,
    ) -> Result<Self, Failure> {
        let state = Mutex::new(State::default());
        let shared = Arc::new(Shared { settings, keys, state, work: Condvar::new(), tick: Condvar::new() });
        let cannot = |error| {
            Failure::new(AuditErrorKind::Open, "the operating system gives no thread for the audit sink")
                .caused_by(error)
        };
        let queue = Self { shared: Arc::clone(&shared), threads: Mutex::default() };
        let clock = Arc::clone(&shared);
        let spawned = thread::Builder::new().name("kest-audit-clock".to_owned()).spawn(move || clock.watch());
        queue.threads.lock().push(spawned.map_err(cannot)?);
        let spawned = thread::Builder::new()
            .name("kest-audit".to_owned())
            .spawn(move || Writer { shared }.run(backend));
        queue.threads.lock().push(spawned.map_err(cannot)?);
        Ok(queue)
    }

    /// Hands a record to the writer and waits for the acknowledgement, without blocking.
    pub(super) async fn append(&self, record: &AuditRecord<'_>) -> Result<(), AuditError> {
        let shared = &*self.shared;
        let columns = match shared.settings.columns {
            false => None,
            true => Some(Box::new(Columns::of(record.jws).ok_or_else(|| {
                AuditError::new(
                    AuditErrorKind::Malformed,
                    "the record is no entry of kest, so it cannot be filed",
                )
            })?)),
        };
        let (keys, generation) = shared.keys.wanted(record)?.unzip();
        let mut item =
            Some(Item { jws: record.jws.into(), hash: *record.hash, kind: record.kind, columns, keys });
        let waiting = Waiting(Arc::default());
        let slot = &waiting.0;
        let result = poll_fn(|cx| {
            {
                let mut inner = slot.inner.lock();
                if let Some(result) = inner.result.take() {
                    return Poll::Ready(result);
                }
                inner.waker = Some(cx.waker().clone());
            }
            let Some(offered) = item.take() else { return Poll::Pending };
            match shared.offer(offered, slot) {
                Offer::Taken => Poll::Pending,
                Offer::NoRoom(back) => {
                    item = Some(back);
                    Poll::Pending
                }
                Offer::Refused(failure) => Poll::Ready(Err(failure)),
            }
        })
        .await;
        if let (Ok(()), Some(generation)) = (&result, generation) {
            shared.keys.given(record, generation);
        }
        result.map_err(|failure| failure.to_error())
    }

    /// [`Self::append`] on a thread that may block.
    pub(super) fn append_blocking(&self, record: &AuditRecord<'_>) -> Result<(), AuditError> {
        struct Unpark(Thread);

        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }

        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut future = pin!(self.append(record));
        loop {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(result) => return result,
                Poll::Pending => thread::park(),
            }
        }
    }

    /// Writes what waits, ends the threads.
    pub(super) fn close(&self) -> Result<(), AuditError> {
        self.shared.state.lock().closing = true;
        self.shared.work.notify_all();
        self.shared.tick.notify_all();
        for thread in self.threads.lock().drain(..).rev() {
            // A thread that panicked has left its mark in `ended`.
            let _ = thread.join();
        }
        match &self.shared.state.lock().ended {
            Some(Err(failure)) => Err(failure.to_error()),
            Some(Ok(())) | None => Ok(()),
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(target: "kest", %error, "the audit sink did not end well");
        }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

fn closed() -> Failure {
    Failure::new(
        AuditErrorKind::Closed,
        "the audit sink has been closed; keep it open as long as calls are made",
    )
}

impl Shared {
    fn offer(&self, item: Item, slot: &Arc<Slot>) -> Offer {
        let mut state = self.state.lock();
        if state.closing || state.ended.is_some() {
            return Offer::Refused(closed());
        }
        let size = item.size();
        let full = match item.kind {
            // Receipts leave half of the room to entries, and never wait.
            RecordKind::Denial if state.bytes + size > self.settings.queue_bytes / 2 => {
                return Offer::Refused(Failure::new(
                    AuditErrorKind::Full,
                    "the audit sink is busy, and receipts of denials do not wait",
                ));
            }
            RecordKind::Denial => false,
            // An item that is larger than the whole queue goes alone.
            _ => state.bytes > 0 && state.bytes + size > self.settings.queue_bytes,
        };
        let mut inner = slot.inner.lock();
        if !mem::replace(&mut inner.timed, true) {
            while state.deadlines.front().is_some_and(|(_, slot)| slot.is_done()) {
                state.deadlines.pop_front();
            }
            state.deadlines.push_back((Instant::now() + self.settings.timeout, Arc::clone(slot)));
            if mem::take(&mut state.clock_sleeps) {
                self.tick.notify_one();
            }
        }
        if full {
            if !mem::replace(&mut inner.in_room, true) {
                state.room.push(Arc::clone(slot));
            }
            return Offer::NoRoom(item);
        }
        inner.queued = true;
        drop(inner);
        state.bytes += size;
        state.jobs.push_back(Job { item, slot: Arc::clone(slot) });
        if state.jobs.len() == 1 {
            self.work.notify_one();
        }
        Offer::Taken
    }

    /// Ends what has waited too long.
    fn watch(&self) {
        let mut state = self.state.lock();
        loop {
            if state.closing && state.ended.is_some() {
                return;
            }
            let now = Instant::now();
            match state.deadlines.front() {
                None => {
                    state.clock_sleeps = true;
                    self.tick.wait(&mut state);
                }
                Some((_, slot)) if slot.is_done() => {
                    state.deadlines.pop_front();
                }
                Some((deadline, slot)) if *deadline <= now => {
                    let slot = Arc::clone(slot);
                    state.deadlines.pop_front();
                    let queued = slot.inner.lock().queued;
                    let timeout = self.settings.timeout;
                    let failure = match queued {
                        false => Failure::new(
                            AuditErrorKind::Full,
                            format!(
                                "the audit sink had no room for {timeout:?}: it gets more than its device takes; \
                                 make fewer calls at once, or use a faster device"
                            ),
                        ),
                        true => Failure::new(
                            AuditErrorKind::Timeout,
                            format!(
                                "the audit sink did not acknowledge within {timeout:?}; see to its device"
                            ),
                        ),
                    };
                    MutexGuard::unlocked(&mut state, || slot.finish(Err(failure)));
                }
                Some((deadline, _)) => {
                    let deadline = *deadline;
                    self.tick.wait_until(&mut state, deadline);
                }
            }
        }
    }
}

struct Writer {
    shared: Arc<Shared>,
}

impl Drop for Writer {
    /// Also after a panic: nobody waits for a writer that is not there.
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.ended.get_or_insert_with(|| {
            Err(Failure::new(AuditErrorKind::Closed, "the audit sink's writer has failed; please report it"))
        });
        let jobs = mem::take(&mut state.jobs);
        let room = mem::take(&mut state.room);
        drop(state);
        for slot in jobs.into_iter().map(|job| job.slot).chain(room) {
            slot.finish(Err(closed()));
        }
        self.shared.tick.notify_all();
    }
}

impl Writer {
    fn run(self, mut backend: impl Backend) {
        let mut failed: Option<(Failure, Instant)> = None;
        while let Some(batch) = self.next_batch(backend.batch_bytes()) {
            let mut unanswered = Unanswered(batch);
            if let Some((failure, at)) = failed.take() {
                if at.elapsed() < self.shared.settings.retry {
                    unanswered.answer(Err(failure.clone()), Vec::new());
                    failed = Some((failure, at));
                    continue;
                }
                if let Err(failure) = backend.repair() {
                    unanswered.answer(Err(failure.clone()), Vec::new());
                    failed = Some((failure, Instant::now()));
                    continue;
                }
                tracing::warn!(target: "kest", "the audit sink takes entries again");
            }
            let mut refused = Vec::new();
            let items: Vec<&Item> = unanswered.0.iter().map(|job| &job.item).collect();
            let written = backend.write(&items, &mut refused);
            if let Err(failure) = &written {
                tracing::error!(target: "kest", error = %failure, "the audit sink takes no entries");
                failed = Some((failure.clone(), Instant::now()));
            }
            unanswered.answer(written, refused);
        }
        let closed = backend.close();
        self.shared.state.lock().ended = Some(closed);
    }

    /// What waits, up to a size. None at the end.
    fn next_batch(&self, most: usize) -> Option<Vec<Job>> {
        let mut state = self.shared.state.lock();
        loop {
            let mut batch = Vec::new();
            let mut bytes = 0;
            while let Some(job) = state.jobs.pop_front() {
                let size = job.item.size();
                if !batch.is_empty() && bytes + size > most {
                    state.jobs.push_front(job);
                    break;
                }
                state.bytes = state.bytes.saturating_sub(size);
                // Nobody waits any more: the call was refused, so there is nothing to record.
                if !job.slot.is_done() {
                    bytes += size;
                    batch.push(job);
                }
            }
            let room = mem::take(&mut state.room);
            if !batch.is_empty() {
                drop(state);
                room.iter().for_each(|slot| slot.has_room());
                return Some(batch);
            }
            if !room.is_empty() {
                drop(state);
                room.iter().for_each(|slot| slot.has_room());
                state = self.shared.state.lock();
                continue;
            }
            if state.closing {
                return None;
            }
            self.shared.work.wait(&mut state);
        }
    }
}

/// Jobs that get an answer, whatever happens.
struct Unanswered(Vec<Job>);

impl Unanswered {
    fn answer(&mut self, result: Result<(), Failure>, refused: Vec<(usize, Failure)>) {
        let mut refused = refused.into_iter().peekable();
        for (index, job) in self.0.drain(..).enumerate() {
            match refused.next_if(|(at, _)| *at == index) {
                Some((_, failure)) => job.slot.finish(Err(failure)),
                None => job.slot.finish(result.clone()),
            }
        }
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.answer(Err(closed()), Vec::new());
    }
}
