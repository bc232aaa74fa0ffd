//! Durable audit sinks: what they keep, what they refuse, what survives (spec §14).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::print_stdout, reason = "numbers for whoever wants them")]

mod crash;
#[cfg(target_os = "linux")]
mod disk;
mod find;
mod keep;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(unix)]
mod modes;
mod support;
mod tamper;
mod verify;
mod writers;
