//! Calls that have waited too long.

use std::sync::Arc;
use std::time::Instant;

use kest_core::error::AuditErrorKind;
use parking_lot::MutexGuard;

use super::Shared;
use crate::audit::failure::Failure;

impl Shared {
    /// Ends what has waited too long.
    pub(super) fn watch(&self) {
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
