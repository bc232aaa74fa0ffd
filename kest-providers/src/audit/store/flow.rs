//! How much of a store is under way at once.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// What entries that are under way may take in memory, about: 48 MiB.
pub(super) const MOST: usize = 48 << 20;

/// Counts what is under way, from the reader to whoever iterates.
#[derive(Debug, Default)]
pub(super) struct Flow {
    state: Mutex<State>,
    room: Condvar,
}

#[derive(Debug, Default)]
struct State {
    under_way: usize,
    closed: bool,
    #[cfg(test)]
    peak: usize,
}

/// What was let in; it leaves when this is dropped, whatever happens to the thread that has it.
#[derive(Debug)]
pub(super) struct Load {
    flow: Arc<Flow>,
    bytes: usize,
}

impl Flow {
    /// Waits for room. What is larger than all of it goes alone. None once nobody wants to know any more.
    pub(super) fn enter(self: &Arc<Self>, bytes: usize) -> Option<Load> {
        let mut state = self.state.lock();
        while !state.closed && state.under_way > 0 && state.under_way + bytes > MOST {
            self.room.wait(&mut state);
        }
        if state.closed {
            return None;
        }
        state.under_way += bytes;
        #[cfg(test)]
        {
            state.peak = state.peak.max(state.under_way);
        }
        Some(Load { flow: Arc::clone(self), bytes })
    }

    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.room.notify_all();
    }

    #[cfg(test)]
    pub(super) fn peak(&self) -> usize {
        self.state.lock().peak
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.flow.state.lock().under_way -= self.bytes;
        self.flow.room.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_does_not_fit_waits_until_something_leaves() {
        let flow = Arc::<Flow>::default();
        let first = flow.enter(MOST - 5).unwrap();
        let second = flow.enter(5).unwrap();
        let (entered, has_entered) = mpsc::channel();
        let other = Arc::clone(&flow);
        let waiting = thread::spawn(move || entered.send(other.enter(6).is_some()).unwrap());
        drop(second);
        // Five have left, and six do not fit.
        assert_eq!(
            has_entered.recv_timeout(Duration::from_millis(100)),
            Err(mpsc::RecvTimeoutError::Timeout)
        );
        drop(first);
        assert!(has_entered.recv_timeout(LONG).unwrap());
        waiting.join().unwrap();
        // All have left, so that even this goes, alone.
        let large = flow.enter(2 * MOST).unwrap();
        let other = Arc::clone(&flow);
        let waiting = thread::spawn(move || other.enter(1).is_none());
        flow.close();
        assert!(waiting.join().unwrap(), "nobody waits for room that nobody wants");
        drop(large);
        assert_eq!(flow.peak(), 2 * MOST);
    }
}
