//! How far long work has come, on a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::interrupt::Watch;

/// A line on standard error that is written anew ten times a second. None where that is no terminal.
pub(crate) struct Progress<'a> {
    watch: &'a Watch,
    begun: Instant,
    drawn: Option<Instant>,
    steps: u64,
    shown: bool,
}

impl<'a> Progress<'a> {
    pub(crate) fn begin(watch: &'a Watch) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let shown = io::stderr().is_terminal() && !dumb;
        Self { watch, begun: Instant::now(), drawn: None, steps: 0, shown }
    }

    /// After each step. Cheap.
    pub(crate) fn step(&mut self) {
        const BETWEEN: Duration = Duration::from_millis(100);
        self.steps += 1;
        if !self.shown || !self.steps.is_multiple_of(64) {
            return;
        }
        let now = Instant::now();
        if self.drawn.is_none_or(|drawn| now.duration_since(drawn) >= BETWEEN) {
            self.drawn = Some(now);
            let line = line(&self.watch.seen(), now.duration_since(self.begun));
            // Nobody is left to look at it.
            let _ = write!(io::stderr(), "\r\u{1b}[K{line}");
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}

/// What has been seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) entries: u64,
    pub(crate) findings: u64,
    pub(crate) wrong: u64,
    /// How much was read, and of how much; 0 where that is not known.
    pub(crate) done: u64,
    pub(crate) all: u64,
}

impl Seen {
    /// In percent.
    pub(crate) fn share(&self) -> Option<u64> {
        (self.all > 0).then(|| (u128::from(self.done) * 100 / u128::from(self.all)).min(100) as u64)
    }
}

fn line(seen: &Seen, elapsed: Duration) -> String {
    const WIDTH: usize = 24;
    let rate = seen.entries as f64 / elapsed.as_secs_f64().max(0.001);
    let count = format!("{} entries, {}/s", grouped(seen.entries), grouped(rate as u64));
    let Some(share) = seen.share() else { return count };
    let full = WIDTH * share as usize / 100;
    let bar = format!("{}{}", "━".repeat(full), " ".repeat(WIDTH - full));
    let rest = match seen.done {
        0 => String::new(),
        done => {
            let rest = elapsed.as_secs_f64() * seen.all.saturating_sub(done) as f64 / done as f64;
            format!(", {} left", clock(rest as u64))
        }
    };
    let wrong = match seen.findings + seen.wrong {
        0 => String::new(),
        wrong => format!(", {} wrong", grouped(wrong)),
    };
    format!("{share:>3} % [{bar}] {count}{rest}{wrong}")
}

fn clock(seconds: u64) -> String {
    match seconds {
        0..=99 => format!("{seconds} s"),
        100..=5_999 => format!("{} min", seconds.div_ceil(60)),
        6_000.. => format!("{} h", seconds.div_ceil(3_600)),
    }
}

/// A number with commas between its thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn the_bar_says_how_far_how_fast_and_how_long_yet() {
        let seen = Seen { entries: 250_000, findings: 0, wrong: 0, done: 25, all: 100 };
        let text = line(&seen, Duration::from_secs(5));
        assert_eq!(
            text,
            format!(" 25 % [{}{}] 250,000 entries, 50,000/s, 15 s left", "━".repeat(6), " ".repeat(18))
        );
        let text = line(&Seen { wrong: 2, findings: 1, ..seen }, Duration::from_secs(500));
        assert!(text.ends_with(" 500/s, 25 min left, 3 wrong"), "{text}");
        let piped = Seen { done: 0, all: 0, ..seen };
        assert_eq!(line(&piped, Duration::from_secs(5)), "250,000 entries, 50,000/s");
        assert_eq!(Seen { done: u64::MAX, all: u64::MAX, ..seen }.share(), Some(100));
        let whole = Seen { done: 100, all: 100, entries: 999_999_999, wrong: 999, ..seen };
        assert!(line(&whole, Duration::from_secs(5)).chars().count() < 90);
    }
}
