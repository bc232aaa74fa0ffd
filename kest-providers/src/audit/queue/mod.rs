//! One writer thread, and the calls that wait for it. Spec §14.

mod clock;
mod slot;
mod writer;

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use kest_core::audit::{AuditRecord, RecordKind};
use kest_core::error::{AuditError, AuditErrorKind};
use parking_lot::{Condvar, Mutex};

use self::slot::{Slot, Waiting};
use self::writer::Writer;
use super::failure::Failure;
use super::item::{Item, KnownKeys};

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
    keys: KnownKeys,
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

enum Offer {
    Taken,
    NoRoom(Item),
    Refused(Failure),
}

impl Queue {
    /// Starts the threads of a sink.
    pub(super) fn start(backend: impl Backend, settings: Settings) -> Result<Self, Failure> {
        let state = Mutex::new(State::default());
        let keys = KnownKeys::default();
        let shared = Arc::new(Shared { settings, keys, state, work: Condvar::new(), tick: Condvar::new() });
        let cannot = |error| {
            Failure::new(AuditErrorKind::Open, "the operating system gives no thread for the audit sink")
                .caused_by(error)
        };
        let queue = Self { shared: Arc::clone(&shared), threads: Mutex::default() };
        // Outside of its thread: where there is none, its end is known all the same.
        let writer = Writer::new(Arc::clone(&shared));
        let spawned =
            thread::Builder::new().name("kest-audit-clock".to_owned()).spawn(move || shared.watch());
        queue.threads.lock().push(spawned.map_err(cannot)?);
        let spawned = thread::Builder::new().name("kest-audit".to_owned()).spawn(move || writer.run(backend));
        queue.threads.lock().push(spawned.map_err(cannot)?);
        Ok(queue)
    }

    /// Hands a record to the writer and waits for the acknowledgement, without blocking.
    pub(super) async fn append(&self, record: &AuditRecord<'_>) -> Result<(), AuditError> {
        let shared = &*self.shared;
        let mut item = Some(Item::of(record, shared.settings.columns, &shared.keys)?);
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
}
