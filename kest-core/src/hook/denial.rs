//! Signed receipts of denials, for the audit sink alone. Spec §6.

use std::time::Instant;

use parking_lot::Mutex;

use super::prepare::Prepared;
use super::{Mode, check_signed};
use crate::audit::AuditRecord;
use crate::error::{Error, PolicyDenied};

/// How many receipts may be signed: so many in a second, and as many at once.
#[derive(Debug)]
pub(crate) struct DenialBudget {
    per_second: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    left: f64,
    at: Instant,
    /// Denials without a receipt since the last one with.
    missed: u64,
}

impl DenialBudget {
    pub(crate) fn new(per_second: u32) -> Self {
        let state = State { left: f64::from(per_second), at: Instant::now(), missed: 0 };
        Self { per_second, state: Mutex::new(state) }
    }

    /// Takes one receipt from the budget; gives the number of denials that got none before it.
    fn take(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        let rate = f64::from(self.per_second);
        let since = now.saturating_duration_since(state.at).as_secs_f64();
        state.left = (state.left + since * rate).min(rate);
        state.at = now;
        if state.left < 1.0 {
            state.missed += 1;
            return None;
        }
        state.left -= 1.0;
        Some(std::mem::take(&mut state.missed))
    }
}

impl Prepared {
    /// Signs a receipt and hands it to the sink, if there is one and the budget allows. The call is denied either way.
    pub(super) async fn keep_receipt(&self, denial: &PolicyDenied, mode: Mode) {
        let Some(budget) = self.kest.as_ref().and_then(|kest| kest.denials()) else { return };
        let sealer = self.sealer();
        let Some(sink) = sealer.audit.as_ref() else { return };
        let Some(missed) = budget.take(Instant::now()) else { return };
        if missed > 0 {
            tracing::warn!(target: "kest", missed, "denials without a receipt: more than `denials_per_second`");
        }
        let kept = async {
            let payload = self.receipt(denial);
            let jws = match mode {
                Mode::Blocking => sealer.identity.sign(&payload),
                Mode::Async => sealer.identity.sign_async(&payload).await,
            }?;
            check_signed(&jws, &payload)?;
            let hash = jws.hash();
            let record =
                AuditRecord::new(jws.as_str(), &hash, &self.entry_id, &sealer.workload, &*sealer.identity)
                    .denial();
            match mode {
                Mode::Blocking => sink.append(&record),
                Mode::Async => sink.append_async(&record).await,
            }?;
            Ok::<(), Error>(())
        };
        if let Err(error) = kept.await {
            tracing::warn!(
                target: "kest",
                entry_id = %self.entry_id,
                operation = %self.operation,
                %error,
                "the denial has no receipt"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn so_many_in_a_second_and_the_others_are_counted() {
        let budget = DenialBudget::new(2);
        let now = Instant::now();
        assert_eq!([budget.take(now), budget.take(now), budget.take(now)], [Some(0), Some(0), None]);
        assert_eq!(budget.take(now + Duration::from_millis(100)), None);
        assert_eq!(budget.take(now + Duration::from_millis(700)), Some(2));
        assert_eq!(budget.take(now + Duration::from_millis(700)), None);
        let later = now + Duration::from_secs(900);
        assert_eq!([budget.take(later), budget.take(later), budget.take(later)], [Some(1), Some(0), None]);
    }
}
