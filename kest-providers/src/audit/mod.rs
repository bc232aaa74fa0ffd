//! Durable audit sinks: what they acknowledged is not lost. Spec §14.
//!
//! - [`FileAudit`]: JSON lines in a folder, in segments.
//! - `SqliteAudit`: an SQLite database, with the feature `sqlite`.
//! - [`open`]: the one that `[audit]` of a `kest.toml` names.
//! - [`Store`]: reads both, checks that nothing was edited, and finds entries.
//!
//! A sink has one writer thread. Calls that come at the same time are written together and acknowledged together, so
//! that many calls share the price of one write (and, with [`Durability::Power`], of one `fsync`).

mod chain;
mod failure;
mod file;
mod item;
mod known;
mod open;
mod private;
mod queue;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;

pub use kest_core::config::Durability;

pub use self::file::{FileAudit, FileAuditBuilder};
pub use self::open::open;
#[cfg(feature = "sqlite")]
pub use self::sqlite::{SqliteAudit, SqliteAuditBuilder};
pub use self::store::{
    Checked, Checks, Filter, Finding, FindingKind, Listing, Place, Scan, Seen, Store, Stored, StoredKeys,
    Taken,
};
