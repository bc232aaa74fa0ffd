//! Calls without a break, from plain threads and from tasks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use kest::{Error, Kest, Passport};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::{kest_error, step, step_async};

/// Threads that call until they are told to stop.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    callers: Vec<JoinHandle<Counted>>,
}

#[derive(Default)]
struct Counted {
    calls: u64,
    failures: Vec<Value>,
    /// A passport for each header, which names the SVID's chain.
    passports: BTreeMap<String, String>,
}

impl Load {
    /// A thread with sync calls, and one that waits for async ones.
    pub(crate) fn start(kest: &Kest, runtime: &Arc<Runtime>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sync = {
            let (kest, stop) = (kest.clone(), Arc::clone(&stop));
            thread::spawn(move || {
                repeat(&stop, |number| {
                    let lineage = kest.enter();
                    let outcome = step(number);
                    (outcome, lineage.passport())
                })
            })
        };
        let tasks = {
            let (kest, stop, runtime) = (kest.clone(), Arc::clone(&stop), Arc::clone(runtime));
            thread::spawn(move || {
                repeat(&stop, |number| {
                    let kest = kest.clone();
                    let task = async move { kest.scope(step_async(number)).with_passport().await };
                    runtime.block_on(runtime.spawn(task)).unwrap()
                })
            })
        };
        Self { stop, callers: vec![sync, tasks] }
    }

    /// What came of it.
    pub(crate) fn stop(self) -> Value {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Counted::default();
        for caller in self.callers {
            let counted = caller.join().expect("a caller that does not panic");
            all.calls += counted.calls;
            all.failures.extend(counted.failures);
            all.passports.extend(counted.passports);
        }
        json!({
            "calls": all.calls,
            "failures": all.failures,
            "passports": all.passports.into_values().collect::<Vec<_>>(),
        })
    }
}

fn repeat(stop: &AtomicBool, call: impl Fn(u64) -> (Result<u64, Error>, Passport)) -> Counted {
    let mut counted = Counted::default();
    while !stop.load(Ordering::SeqCst) {
        let (outcome, passport) = call(counted.calls);
        counted.calls += 1;
        match outcome {
            Ok(_) => {
                let entries = passport.entries();
                let header = entries[0].jws().split('.').next().unwrap_or_default();
                if !counted.passports.contains_key(header) {
                    counted.passports.insert(header.to_owned(), passport.serialize());
                }
            }
            Err(error) if counted.failures.len() < 10 => counted.failures.push(kest_error(&error)),
            Err(_) => {}
        }
    }
    counted
}
