//! Suites that every provider passes, public so that providers of one's own can be held to them too.

pub mod audit;
pub mod cache;
mod executor;
mod failure;
pub mod identity;
pub mod policy;

pub use failure::ConformanceFailure;
