//! The thread that writes: batches, and what becomes of them.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use kest_core::error::AuditErrorKind;

use super::{Backend, Job, Shared, closed};
use crate::audit::failure::Failure;
use crate::audit::item::Item;

/// The thread that writes.
pub(super) struct Writer {
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
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(super) fn run(self, mut backend: impl Backend) {
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
