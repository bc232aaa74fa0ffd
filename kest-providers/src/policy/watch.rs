//! Sets of policies that are exchanged while calls run: by hand, or by a thread that looks at the folder.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use kest_core::error::PolicyUnavailable;
use parking_lot::{Condvar, Mutex, RwLock};
use sha2::{Digest, Sha256};

use super::folder::{Source, refuse};

/// Where a set of policies comes from.
pub(super) trait Origin: Send + Sync + 'static {
    /// What is made of the texts. Never changed after.
    type Set: Send + Sync + 'static;

    /// All texts as they are now.
    fn read(&self) -> Result<Texts, PolicyUnavailable>;

    /// The set that these texts are, whole and checked.
    fn build(&self, texts: &Texts) -> Result<Self::Set, PolicyUnavailable>;
}

/// What a set is made of.
pub(super) struct Texts {
    pub(super) policies: Vec<Source>,
    pub(super) schema: Option<Source>,
}

type Fingerprint = [u8; 32];

impl Texts {
    fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        for Source { name, file, text } in self.policies.iter().chain(&self.schema) {
            for part in [name, file, text] {
                hash.update(part.len().to_be_bytes());
                hash.update(part);
            }
        }
        hash.finalize().into()
    }
}

/// The set in force, and what exchanges it.
pub(super) struct Live<O: Origin> {
    shared: Arc<Shared<O>>,
    stop: Arc<Stop>,
}

struct Shared<O: Origin> {
    origin: O,
    set: RwLock<Arc<O::Set>>,
    /// Of what is in force. Held while texts are read and loaded, so that older ones never follow newer ones.
    loaded: Mutex<Fingerprint>,
    failed: Mutex<Option<Arc<PolicyUnavailable>>>,
}

/// Looking more often would only keep the disk busy.
const SHORTEST: Duration = Duration::from_millis(10);

/// How often texts are read until they are the same twice.
const LOOKS: usize = 10;

impl<O: Origin> Live<O> {
    /// Loads the first set. With an interval, a thread looks for others until this is dropped.
    pub(super) fn new(origin: O, every: Option<Duration>) -> Result<Self, PolicyUnavailable> {
        let (texts, fingerprint) = settled(&origin)?;
        let shared = Arc::new(Shared {
            set: RwLock::new(Arc::new(origin.build(&texts)?)),
            loaded: Mutex::new(fingerprint),
            failed: Mutex::new(None),
            origin,
        });
        let stop = Arc::new(Stop::default());
        if let Some(every) = every {
            let (weak, stop, every) = (Arc::downgrade(&shared), Arc::clone(&stop), every.max(SHORTEST));
            thread::Builder::new()
                .name("kest-policies".to_owned())
                .spawn(move || watch(&weak, &stop, every))
                .map_err(|error| {
                    refuse(format!("the thread that watches policies cannot start: {error}"))
                        .with_source(error)
                })?;
        }
        Ok(Self { shared, stop })
    }

    pub(super) fn set(&self) -> Arc<O::Set> {
        Arc::clone(&self.shared.set.read())
    }

    /// Loads all texts now. The old set stays on an error.
    pub(super) fn reload(&self) -> Result<(), PolicyUnavailable> {
        let mut loaded = self.shared.loaded.lock();
        let (texts, fingerprint) = settled(&self.shared.origin)?;
        let set = self.shared.origin.build(&texts)?;
        self.shared.take_over(set);
        *loaded = fingerprint;
        Ok(())
    }

    /// Why what the thread saw last is not in force.
    pub(super) fn reload_error(&self) -> Option<Arc<PolicyUnavailable>> {
        self.shared.failed.lock().clone()
    }
}

impl<O: Origin> Drop for Live<O> {
    fn drop(&mut self) {
        *self.stop.stopped.lock() = true;
        self.stop.changed.notify_all();
    }
}

impl<O: Origin> Shared<O> {
    fn take_over(&self, set: O::Set) {
        let set = Arc::new(set);
        let old = mem::replace(&mut *self.set.write(), set);
        *self.failed.lock() = None;
        // Calls that want the new set do not wait until the old one is freed.
        drop(old);
    }
}

#[derive(Default)]
struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Waits for the interval, or until the engine is dropped: then it says `true`.
    fn after(&self, interval: Duration) -> bool {
        let mut stopped = self.stopped.lock();
        self.changed.wait_while_for(&mut stopped, |stopped| !*stopped, interval);
        *stopped
    }
}

fn watch<O: Origin>(engine: &Weak<Shared<O>>, stop: &Stop, every: Duration) {
    let mut watcher = Watcher::default();
    while !stop.after(every) {
        let Some(shared) = engine.upgrade() else { return };
        watcher.look(&shared);
    }
}

/// What a look at the folder shows: its content, or why there is none.
type Look = Result<Fingerprint, String>;

fn look(texts: &Result<Texts, PolicyUnavailable>) -> Look {
    texts.as_ref().map(Texts::fingerprint).map_err(ToString::to_string)
}

/// What is the same at two looks in a row, or why it cannot be read. Files that are exchanged while a folder is read
/// show a mixture of two versions, of which each file may parse.
fn settled<O: Origin>(origin: &O) -> Result<(Texts, Fingerprint), PolicyUnavailable> {
    let mut last = None;
    for _ in 0..LOOKS {
        let texts = origin.read();
        let look = look(&texts);
        if last.as_ref() == Some(&look) {
            return texts.map(|texts| {
                let fingerprint = texts.fingerprint();
                (texts, fingerprint)
            });
        }
        last = Some(look);
    }
    Err(refuse(format!(
        "the policies changed each of the {LOOKS} times they were read; load them when they rest"
    )))
}

/// What the thread remembers.
#[derive(Default)]
struct Watcher {
    last: Option<Look>,
    refused: Option<Look>,
}

impl Watcher {
    fn look<O: Origin>(&mut self, shared: &Shared<O>) {
        let mut loaded = shared.loaded.lock();
        let texts = shared.origin.read();
        let look = look(&texts);
        let still = self.last.as_ref() == Some(&look);
        self.last = Some(look.clone());
        // A file that is being written may parse, and mean something else.
        if !still {
            return;
        }
        if look.as_ref() == Ok(&*loaded) {
            if shared.failed.lock().take().is_some() {
                tracing::info!(target: "kest", "the policies on disk are those in force again");
            }
            return;
        }
        if self.refused.as_ref() == Some(&look) && shared.failed.lock().is_some() {
            return;
        }
        match texts.and_then(|texts| caught(|| shared.origin.build(&texts))) {
            Ok(set) => {
                shared.take_over(set);
                if let Ok(fingerprint) = look {
                    *loaded = fingerprint;
                }
                tracing::info!(target: "kest", "new policies are in force");
            }
            Err(error) => {
                tracing::error!(target: "kest", %error, "new policies cannot be used, the old ones stay in force");
                *shared.failed.lock() = Some(Arc::new(error));
                self.refused = Some(look);
            }
        }
    }
}

/// A parser that panics must not end the thread.
fn caught<T>(load: impl FnOnce() -> Result<T, PolicyUnavailable>) -> Result<T, PolicyUnavailable> {
    catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|_| Err(refuse("the policy library panicked")))
}

#[cfg(test)]
mod tests;
