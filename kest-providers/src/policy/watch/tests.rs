use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::*;

/// Texts as a test sets them; the set is the text, unless it says that it is broken.
#[derive(Default)]
struct Fake {
    text: Mutex<Option<String>>,
    built: AtomicUsize,
}

impl Origin for Arc<Fake> {
    type Set = String;

    fn read(&self) -> Result<Texts, PolicyUnavailable> {
        let Some(text) = self.text.lock().clone() else { return Err(refuse("the folder is gone")) };
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
