//! What the commands of `kest policy` share: the folder, the sources, the lock, the engines. Spec §11, §15.

pub(crate) mod catalog;
pub(crate) mod engines;
pub(crate) mod files;
pub(crate) mod lock;
pub(crate) mod names;
pub(crate) mod project;
pub(crate) mod rego_text;
pub(crate) mod remote;
pub(crate) mod source;
