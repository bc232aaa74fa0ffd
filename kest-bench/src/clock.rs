//! Times of single calls and of whole passports, and what is made of many of them.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since `start`.
pub(crate) fn since(start: Instant) -> f64 {
    nanos(start.elapsed())
}

/// What reading the clock twice in a row shows: the part of every measured time that is the clock's own.
pub(crate) fn reading() -> f64 {
    median((0..10_000).map(|_| since(Instant::now())).collect())
}

/// Which time counts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Clock {
    /// What this thread worked: what other processes take meanwhile does not count.
    Processor,
    /// What all threads of this process worked.
    #[cfg(any(feature = "audit", feature = "http"))]
    Process,
    /// The clock on the wall.
    Wall,
}

impl Clock {
    /// Nanoseconds of `work`, and what it gave.
    pub(crate) fn time<T>(self, work: impl FnOnce() -> T) -> (f64, T) {
        let worked = |clock| {
            let start = read(clock);
            let value = work();
            (nanos(read(clock).saturating_sub(start)), value)
        };
        match self {
            Self::Processor => worked(ClockId::ThreadCPUTime),
            #[cfg(any(feature = "audit", feature = "http"))]
            Self::Process => worked(ClockId::ProcessCPUTime),
            Self::Wall => worked(ClockId::Monotonic),
        }
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

pub(crate) fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn read(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}
