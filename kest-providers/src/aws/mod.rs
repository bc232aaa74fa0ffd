//! What all parts that ask AWS have in common: where AWS is, and what its failures mean.

mod access;
mod failure;

pub(crate) use self::access::{Access, Attempts, Service, place, variable};
pub(crate) use self::failure::{Failure, FailureKind, Request, cause, code};
#[cfg(feature = "avp")]
pub(crate) use self::failure::{cut, find};
