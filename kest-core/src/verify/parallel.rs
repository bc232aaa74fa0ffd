//! The same work on every entry, on several threads.

use std::thread;

/// Maps `items` in order, each thread over a run of them with a state of its own.
pub(super) fn map<'a, T: Sync, S, R: Send>(
    items: &'a [T],
    threads: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize, &'a T) -> R + Sync,
) -> Vec<R> {
    let run = |start: usize, part: &'a [T]| {
        let mut state = state();
        part.iter()
            .enumerate()
            .map(|(offset, item)| work(&mut state, start + offset, item))
            .collect::<Vec<R>>()
    };
    if threads <= 1 {
        return run(0, items);
    }
    let size = items.len().div_ceil(threads);
    let mut parts = items.chunks(size).enumerate();
    let first = parts.next();
    thread::scope(|scope| {
        let run = &run;
        let others: Vec<_> =
            parts.map(|(number, part)| scope.spawn(move || run(number * size, part))).collect();
        let mut all = first.map(|(_, part)| run(0, part)).unwrap_or_default();
        all.reserve(items.len().saturating_sub(all.len()));
        for other in others {
            match other.join() {
                Ok(part) => all.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    })
}
