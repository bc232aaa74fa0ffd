//! The run-time of Kest: entries, passports, lineage scopes, the hook and the verifier.
//!
//! Applications use the crate `kest`, which re-exports what they need and adds the attribute
//! `#[kest_verified]`. This crate is for those who write providers, engines and sinks.
//!
//! The modules in the order data flows: [`call`] (what the attribute gives) → the hook → [`identity`],
//! [`policy`], [`trust`], [`taint`] (what a call consults) → [`entry`], [`canonical`], [`jws`] (payload →
//! canonical bytes → signed string) → [`passport`], [`lineage`] (the DAG, the ambient scope) → [`verify`],
//! [`keys`] (what others do with it).

pub mod audit;
#[doc(hidden)]
pub mod call;
pub mod canonical;
pub mod claim;
mod clock;
pub mod config;
mod crypto;
mod der;
pub mod entry;
pub mod error;
mod hook;
pub mod identity;
pub mod jws;
pub mod keys;
pub mod lineage;
pub mod passport;
mod payload;
pub mod policy;
pub mod runtime;
pub mod taint;
pub mod telemetry;
pub mod text;
pub mod trust;
pub mod verify;

pub use error::Error;
pub use passport::{Passport, PassportEntry};
pub use payload::{RUNTIME_NAME, RUNTIME_VERSION, SCHEMA_VERSION};
pub use runtime::{
    Kest, KestBuilder, clear, configure, get_active_cache, get_active_engine, get_active_identity, global,
    reconfigure,
};

/// What the attribute expands to. Not part of the API.
#[doc(hidden)]
pub mod __private {
    pub use crate::call::{CallSpec, Denied, FromError, Invocation, Names, Recorded};
    pub use crate::error::Error;
    pub use crate::hook::{
        Live, begin, begin_sync, call_sync_recorded, in_scope, in_scope_recorded, run_in_scope,
    };
}
