//! For how long something is valid.

/// From one epoch millisecond to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    from_ms: u64,
    to_ms: u64,
}

impl Window {
    /// From the epoch seconds of a certificate's validity: the whole of the last second counts, RFC 5280 §4.1.2.5.
    #[cfg(feature = "aws-lc")]
    pub(super) fn of_seconds(not_before: i64, not_after: i64) -> Self {
        let ms = |seconds: i64| u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000);
        // INVARIANT: what ends before 1970 contains no time at all.
        let from_ms = if not_after < 0 { u64::MAX } else { ms(not_before) };
        Self { from_ms, to_ms: ms(not_after).saturating_add(999) }
    }

    /// By how many seconds that time lies more than `slack_ms` before the window, if it does.
    pub(super) fn predated(&self, at_ms: u64, slack_ms: u64) -> Option<u64> {
        let ahead_ms = self.from_ms.checked_sub(at_ms)?;
        (ahead_ms > slack_ms).then(|| ahead_ms.div_ceil(1_000))
    }

    pub(super) fn contains(&self, at_ms: u64) -> bool {
        (self.from_ms..=self.to_ms).contains(&at_ms)
    }

    #[cfg(feature = "aws-lc")]
    pub(super) fn and(self, other: Self) -> Self {
        Self { from_ms: self.from_ms.max(other.from_ms), to_ms: self.to_ms.min(other.to_ms) }
    }

    /// Seconds from the end of the window to that time, if it is behind it.
    #[cfg(feature = "aws-lc")]
    pub(super) fn seconds_past(&self, at_ms: u64) -> Option<u64> {
        at_ms.checked_sub(self.to_ms).filter(|ms| *ms > 0).map(|ms| ms.div_ceil(1_000))
    }

    /// Seconds from that time to the begin of the window, if it is ahead of it.
    #[cfg(feature = "aws-lc")]
    pub(super) fn seconds_ahead(&self, at_ms: u64) -> Option<u64> {
        self.from_ms.checked_sub(at_ms).filter(|ms| *ms > 0).map(|ms| ms.div_ceil(1_000))
    }
}
