//! A callee that was asked for lineage and gives none says why, in one word. Spec §12.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderValue;

/// Why nothing comes back: `kest-lineage: none;reason=…`. It is told to whoever asks, so it says no more than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Withheld {
    /// The caller's lineage is bound to nobody, and the connection proves nobody.
    Unbound,
    /// What the callee added does not fit.
    TooLarge,
    /// The cache of claim checks failed.
    Unavailable,
    /// No reason, or one that this version does not know.
    Unsaid,
}

impl Withheld {
    pub(crate) fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Unbound => "none;reason=unbound",
            Self::TooLarge => "none;reason=too-large",
            Self::Unavailable => "none;reason=unavailable",
            Self::Unsaid => "none",
        })
    }

    /// What the values of `kest-lineage` say, unless they are a lineage, or what should be one.
    pub(crate) fn read(values: &[HeaderValue]) -> Option<Self> {
        let [value] = values else { return None };
        let rest = value.to_str().ok()?.strip_prefix("none")?;
        match rest.strip_prefix(';') {
            None if rest.is_empty() => Some(Self::Unsaid),
            None => None,
            Some("reason=unbound") => Some(Self::Unbound),
            Some("reason=too-large") => Some(Self::TooLarge),
            Some("reason=unavailable") => Some(Self::Unavailable),
            Some(_) => Some(Self::Unsaid),
        }
    }
}

/// What anybody can bring about is said once a minute.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<Option<Instant>>);

const MINUTE: Duration = Duration::from_secs(60);

impl Seldom {
    /// Whether to say it now.
    pub(crate) fn now(&self) -> bool {
        self.at(Instant::now())
    }

    fn at(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| now.saturating_duration_since(last) < MINUTE) {
            return false;
        }
        *last = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_read_as_they_are_written() {
        for withheld in [Withheld::Unbound, Withheld::TooLarge, Withheld::Unavailable, Withheld::Unsaid] {
            assert_eq!(Withheld::read(&[withheld.header()]), Some(withheld));
        }
    }

    #[test]
    fn unknown_reasons_are_none_and_nothing_else_is() {
        let read = |values: &[&'static str]| {
            Withheld::read(&values.iter().map(|value| HeaderValue::from_static(value)).collect::<Vec<_>>())
        };
        for text in ["none;", "none;reason=", "none;reason=later", "none;reason=unbound;more", "none;other"] {
            assert_eq!(read(&[text]), Some(Withheld::Unsaid), "{text}");
        }
        for text in ["", "None", "nonesuch=1", "none=1", " none", "kest.chain_tip=none"] {
            assert_eq!(read(&[text]), None, "{text}");
        }
        assert_eq!(read(&[]), None);
        assert_eq!(read(&["none", "none"]), None);
    }

    #[test]
    fn it_is_said_once_a_minute() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        let at = |seconds| seldom.at(start + Duration::from_secs(seconds));
        assert_eq!([0, 1, 59, 60, 61, 119, 120].map(at), [true, false, false, true, false, false, true]);
    }
}
