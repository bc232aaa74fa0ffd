//! What an error says of the call that it is about, and where it is found (spec §12, §15).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::io;

use kest_core::error::{Error, LineageError, LineageErrorKind, PropagationError, PropagationErrorKind};

#[test]
fn an_error_says_whether_the_call_was_made() {
    let error = |kind| Error::from(PropagationError::new(kind, "x"));
    assert!(error(PropagationErrorKind::Returned).already_executed());
    for kind in [
        PropagationErrorKind::HostNotNamed,
        PropagationErrorKind::TooLarge,
        PropagationErrorKind::Cache,
        PropagationErrorKind::NoLineage,
        PropagationErrorKind::Unreturnable,
    ] {
        assert!(!error(kind).already_executed(), "{kind:?}");
    }
}

#[test]
fn an_error_of_ours_is_found_behind_whatever_holds_it() {
    let ours = || PropagationError::new(PropagationErrorKind::Returned, "x");
    let nested = io::Error::other(io::Error::other(Error::from(ours())));
    let cause = PropagationError::new(PropagationErrorKind::Cache, "y").with_source(ours());
    for (error, kind) in [
        (Box::new(ours()) as Box<dyn std::error::Error>, PropagationErrorKind::Returned),
        (Box::new(Error::from(ours())), PropagationErrorKind::Returned),
        (Box::new(nested), PropagationErrorKind::Returned),
        (Box::new(cause), PropagationErrorKind::Cache),
        (
            Box::new(
                LineageError::new(LineageErrorKind::Unverified, "z").with_source(io::Error::other(ours())),
            ),
            PropagationErrorKind::Returned,
        ),
    ] {
        assert_eq!(PropagationError::find(&*error).unwrap().kind(), kind, "{error:?}");
    }
    let others = io::Error::other(LineageError::new(LineageErrorKind::Unverified, "z"));
    assert!(PropagationError::find(&others).is_none());
    assert!(PropagationError::find(&io::Error::from(io::ErrorKind::NotFound)).is_none());
}
