//! Ctrl-C in long work.

use std::io::{self, IsTerminal, Write};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::progress::{Seen, grouped};

/// What a shell says of a process that Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

/// What has been seen so far, for whoever looks.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    entries: AtomicU64,
    findings: AtomicU64,
    wrong: AtomicU64,
    done: AtomicU64,
    all: AtomicU64,
}

impl Watch {
    /// From here on Ctrl-C says how far the work has come, and ends the process at once.
    pub(crate) fn begin() -> Arc<Self> {
        let watch = Arc::<Self>::default();
        let looked_at = Arc::clone(&watch);
        // Where this cannot be had, Ctrl-C ends the process without a word.
        let _ = ctrlc::set_handler(move || {
            let clear = if io::stderr().is_terminal() { "\r\u{1b}[K" } else { "" };
            let _ = writeln!(io::stderr(), "{clear}kest: {}", sentence(&looked_at.seen()));
            process::exit(INTERRUPTED);
        });
        watch
    }

    pub(crate) fn put(&self, seen: &Seen) {
        self.entries.store(seen.entries, Ordering::Relaxed);
        self.findings.store(seen.findings, Ordering::Relaxed);
        self.wrong.store(seen.wrong, Ordering::Relaxed);
        self.done.store(seen.done, Ordering::Relaxed);
        self.all.store(seen.all, Ordering::Relaxed);
    }

    pub(crate) fn seen(&self) -> Seen {
        Seen {
            entries: self.entries.load(Ordering::Relaxed),
            findings: self.findings.load(Ordering::Relaxed),
            wrong: self.wrong.load(Ordering::Relaxed),
            done: self.done.load(Ordering::Relaxed),
            all: self.all.load(Ordering::Relaxed),
        }
    }
}

fn sentence(seen: &Seen) -> String {
    let share = seen.share().map_or(String::new(), |share| format!(", {share} % of the store"));
    format!(
        "interrupted after {} entries{share}: {} findings and {} bad entries so far, and nothing is known of the rest",
        grouped(seen.entries),
        grouped(seen.findings),
        grouped(seen.wrong)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_promises_nothing_of_the_rest() {
        let watch = Watch::default();
        watch.put(&Seen { entries: 12_000, findings: 1, wrong: 2, done: 3, all: 4 });
        assert_eq!(
            sentence(&watch.seen()),
            "interrupted after 12,000 entries, 75 % of the store: 1 findings and 2 bad entries so far, and nothing is \
             known of the rest"
        );
    }
}
