//! One file per command.

pub(crate) mod show;
pub(crate) mod verify;
