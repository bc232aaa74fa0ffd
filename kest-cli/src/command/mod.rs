//! One file per command.

pub(crate) mod completions;
pub(crate) mod graph;
pub(crate) mod keys;
pub(crate) mod policy;
pub(crate) mod show;
pub(crate) mod verify;
pub(crate) mod whoami;
