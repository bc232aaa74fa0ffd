//! Spans at real collectors: rotel and the OpenTelemetry Collector, by gRPC and HTTP. Spec §14.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod chain;
mod delivery;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// There is one tracer provider in a process.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}
