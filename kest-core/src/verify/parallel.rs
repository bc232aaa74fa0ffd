//! The same work on every entry, on several threads.

use std::thread;

/// Cuts `items` into a run for each thread, and gives what `work` makes of the runs, in order. `work` gets the index
/// of the first item of its run.
pub(super) fn runs<'a, T: Sync, R: Send>(
    items: &'a [T],
    threads: usize,
    work: impl Fn(usize, &'a [T]) -> R + Sync,
) -> Vec<R> {
    if threads <= 1 || items.is_empty() {
        return vec![work(0, items)];
    }
    let size = items.len().div_ceil(threads);
    let mut parts = items.chunks(size).enumerate();
    let first = parts.next();
    thread::scope(|scope| {
        let work = &work;
        let others: Vec<_> =
            parts.map(|(number, part)| scope.spawn(move || work(number * size, part))).collect();
        let mut all: Vec<R> = first.map(|(_, part)| work(0, part)).into_iter().collect();
        for other in others {
            match other.join() {
                Ok(part) => all.push(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    })
}
