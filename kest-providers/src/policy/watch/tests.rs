use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use kest_core::error::PolicyErrorKind;

use super::*;

/// Texts as a test sets them; the set is the text, unless it says that it is broken.
#[derive(Default)]
struct Fake {
    text: Mutex<Option<String>>,
    /// What is shown before, each once.
    before: Mutex<VecDeque<Option<String>>>,
    built: AtomicUsize,
}

impl Origin for Arc<Fake> {
    type Set = String;

    fn read(&self) -> Result<Texts, PolicyUnavailable> {
        let shown = self.before.lock().pop_front().unwrap_or_else(|| self.text.lock().clone());
        let Some(text) = shown else { return Err(refuse("the folder is gone")) };
        let source = Source { name: "t".to_owned(), file: "t".to_owned(), text };
        Ok(Texts { policies: vec![source], schema: None })
    }

    fn build(&self, texts: &Texts) -> Result<String, PolicyUnavailable> {
        self.built.fetch_add(1, Ordering::Relaxed);
        let text = &texts.policies[0].text;
        assert!(text != "panic");
        if text == "broken" { Err(refuse("broken")) } else { Ok(text.clone()) }
    }
}

struct Tried {
    fake: Arc<Fake>,
    live: Live<Arc<Fake>>,
    watcher: Watcher,
}

impl Tried {
    fn new() -> Self {
        let fake = Arc::new(Fake::default());
        *fake.text.lock() = Some("one".to_owned());
        let live = Live::new(Arc::clone(&fake), None).unwrap();
        Self { fake, live, watcher: Watcher::default() }
    }

    /// The set in force and what is said to be wrong, after a look at that text.
    fn look(&mut self, text: Option<&str>) -> (String, Option<String>) {
        *self.fake.text.lock() = text.map(str::to_owned);
        self.watcher.look(&self.live.shared);
        (self.live.set().as_ref().clone(), self.live.reload_error().map(|error| error.to_string()))
    }

    fn built(&self) -> usize {
        self.fake.built.load(Ordering::Relaxed)
    }
}

impl Fake {
    fn shows(&self, before: &[Option<&str>], at_last: &str) {
        *self.before.lock() = before.iter().map(|text| text.map(str::to_owned)).collect();
        *self.text.lock() = Some(at_last.to_owned());
    }
}

#[test]
fn what_changes_while_it_is_read_is_read_again() {
    let fake = Arc::new(Fake::default());
    fake.shows(&[Some("half old, half new")], "new");
    let live = Live::new(Arc::clone(&fake), None).unwrap();
    assert_eq!(*live.set(), "new");
    assert_eq!(fake.built.load(Ordering::Relaxed), 1, "a mixture is not even built");
    fake.shows(&[None, Some("half"), Some("new"), None, Some("half")], "newer");
    live.reload().unwrap();
    assert_eq!(*live.set(), "newer");
    // What is in force is what the thread compares with.
    let mut watcher = Watcher::default();
    watcher.look(&live.shared);
    watcher.look(&live.shared);
    assert_eq!(fake.built.load(Ordering::Relaxed), 2);
}

#[test]
fn what_never_rests_is_refused() {
    let texts: Vec<String> = (0..LOOKS).map(|n| n.to_string()).collect();
    let restless: Vec<_> = texts.iter().map(|text| Some(text.as_str())).collect();
    let refused = "the policies changed each of the 10 times they were read; load them when they rest";
    let fake = Arc::new(Fake::default());
    fake.shows(&restless, "rest");
    let Err(error) = Live::new(Arc::clone(&fake), None) else { panic!("loaded") };
    assert_eq!((error.kind(), error.to_string().as_str()), (PolicyErrorKind::Load, refused));
    let live = Live::new(Arc::clone(&fake), None).unwrap();
    fake.shows(&restless, "other");
    let error = live.reload().unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (PolicyErrorKind::Load, refused));
    assert_eq!(*live.set(), "rest");
    live.reload().unwrap();
    assert_eq!(*live.set(), "other");
}

fn says(set: &str, error: Option<&str>) -> (String, Option<String>) {
    (set.to_owned(), error.map(str::to_owned))
}

#[test]
fn only_what_is_seen_twice_takes_over() {
    let mut tried = Tried::new();
    assert_eq!(tried.look(Some("two, half")), says("one", None));
    assert_eq!(tried.look(Some("two, more")), says("one", None));
    assert_eq!(tried.look(Some("two")), says("one", None));
    assert_eq!(tried.look(Some("two")), says("two", None));
    let built = tried.built();
    assert_eq!(tried.look(Some("two")), says("two", None));
    assert_eq!(tried.built(), built, "what is in force is not built again");
    assert_eq!(tried.look(Some("three")), says("two", None));
    assert_eq!(tried.look(Some("two")), says("two", None));
    assert_eq!(tried.look(Some("three")), says("two", None), "not in a row");
}

#[test]
fn what_cannot_be_used_is_said_once_and_until_a_good_load() {
    let mut tried = Tried::new();
    tried.look(Some("broken"));
    assert_eq!(tried.look(Some("broken")), says("one", Some("broken")));
    let built = tried.built();
    assert_eq!(tried.look(Some("broken")), says("one", Some("broken")));
    assert_eq!(tried.built(), built, "nor tried again");
    assert_eq!(tried.look(None), says("one", Some("broken")));
    assert_eq!(tried.look(None), says("one", Some("the folder is gone")));
    tried.look(Some("panic"));
    assert_eq!(tried.look(Some("panic")), says("one", Some("the policy library panicked")));
    tried.look(Some("one"));
    assert_eq!(tried.look(Some("one")), says("one", None), "as it is in force");
    tried.look(Some("broken"));
    assert_eq!(tried.look(Some("broken")), says("one", Some("broken")));
    tried.look(Some("two"));
    assert_eq!(tried.look(Some("two")), says("two", None));
}

#[test]
fn a_load_by_hand_counts_too() {
    let mut tried = Tried::new();
    tried.look(Some("broken"));
    tried.look(Some("broken"));
    assert_eq!(tried.live.reload().unwrap_err().to_string(), "broken");
    *tried.fake.text.lock() = Some("two".to_owned());
    tried.live.reload().unwrap();
    let built = tried.built();
    tried.look(Some("two"));
    assert_eq!(tried.look(Some("two")), says("two", None));
    assert_eq!(tried.built(), built, "it is in force already");
    tried.look(Some("broken"));
    assert_eq!(tried.look(Some("broken")), says("two", Some("broken")), "although it was refused before");
}

#[test]
fn the_thread_ends_with_the_engine_and_holds_nobody_up() {
    let fake = Arc::new(Fake::default());
    *fake.text.lock() = Some("one".to_owned());
    for every in [Duration::ZERO, Duration::from_secs(3600)] {
        let live = Live::new(Arc::clone(&fake), Some(every)).unwrap();
        let stop = Arc::downgrade(&live.stop);
        let begun = Instant::now();
        drop(live);
        assert!(begun.elapsed() < Duration::from_secs(60));
        // What the thread holds goes with it.
        while stop.strong_count() > 0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "the thread goes on");
            thread::yield_now();
        }
    }
}

/// A set that says when it is freed whether others could look at the one in force meanwhile.
struct Guarded {
    live: Arc<Mutex<Weak<Shared<Guards>>>>,
    seen: Arc<Mutex<Vec<bool>>>,
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(shared) = self.live.lock().upgrade() {
            self.seen.lock().push(shared.set.try_read().is_some());
        }
    }
}

struct Guards {
    live: Arc<Mutex<Weak<Shared<Guards>>>>,
    seen: Arc<Mutex<Vec<bool>>>,
}

impl Origin for Guards {
    type Set = Guarded;

    fn read(&self) -> Result<Texts, PolicyUnavailable> {
        Ok(Texts { policies: Vec::new(), schema: None })
    }

    fn build(&self, _: &Texts) -> Result<Guarded, PolicyUnavailable> {
        Ok(Guarded { live: Arc::clone(&self.live), seen: Arc::clone(&self.seen) })
    }
}

#[test]
fn nobody_waits_until_the_old_set_is_freed() {
    let (known, seen) = (Arc::new(Mutex::new(Weak::new())), Arc::new(Mutex::new(Vec::new())));
    let live = Live::new(Guards { live: Arc::clone(&known), seen: Arc::clone(&seen) }, None).unwrap();
    *known.lock() = Arc::downgrade(&live.shared);
    live.reload().unwrap();
    assert_eq!(*seen.lock(), [true]);
}
