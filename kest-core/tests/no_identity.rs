//! Without the providers nothing is detected: a `Kest` without an identity is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use kest_core::error::{ConfigurationError, ConfigurationErrorKind};
use kest_core::{Kest, configure, global, reconfigure};
use support::TestEngine;

#[test]
fn the_core_takes_no_kest_without_an_identity_for_the_process() {
    let nameless = || Kest::builder().engine(TestEngine).without_config().build().unwrap();
    for set in [configure, reconfigure] as [fn(Kest) -> Result<(), ConfigurationError>; 2] {
        let error = set(nameless()).unwrap_err();
        assert_eq!(error.kind(), ConfigurationErrorKind::MissingIdentity);
        assert!(error.to_string().contains("`.identity(…)`"), "{error}");
        assert!(global().is_none());
    }
    configure(support::kest()).unwrap();
    reconfigure(nameless()).unwrap_err();
    assert!(global().unwrap().identity().is_some());
}
