//! When something must be done.

use std::time::Duration;

use tokio::time::Instant;

/// A century is as good as for ever, and can be added.
const LONGEST: Duration = Duration::from_secs(3_153_600_000);

/// The end of that time from now on, however long it is.
pub(super) fn after(time: Duration) -> Instant {
    Instant::now() + time.min(LONGEST)
}
