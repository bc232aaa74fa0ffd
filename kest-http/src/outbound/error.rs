//! Settings that cannot be used.

use std::error::Error as StdError;
use std::fmt;

use kest_core::text::Quoted;
use kest_core::verify::AuthorityError;

/// An error as layers of tower pass it on. The cause is a
/// [`PropagationError`](kest_core::error::PropagationError) where it was ours.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// Settings of an [`Outbound`](super::Outbound) that cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum OutboundError {
    /// A host that is not written as one.
    Host {
        /// The text.
        host: String,
    },
    /// An origin that is not written as one.
    Origin {
        /// The text.
        origin: String,
    },
    /// No host is named.
    NoHost,
    /// A callee that is not written as one.
    Callee {
        /// What is wrong with it.
        source: AuthorityError,
    },
    /// A ceiling over 100.
    Ceiling {
        /// The ceiling.
        found: u8,
    },
    /// Settings for what comes back, and nothing is asked back.
    NothingReturned,
    /// Lineage is asked back of a client that cannot join it.
    CannotJoin,
}

impl fmt::Display for OutboundError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { host } => write!(
                f,
                "{} names no host; write it as `orders.internal`, `orders.internal:8443`, `127.0.0.1:9000` or \
                 `[::1]:9000`, without scheme, path, user or wildcard, and beyond ASCII as `xn--…`",
                Quoted(host)
            ),
            Self::Origin { origin } => write!(
                f,
                "{} is no origin; write it as `https://orders.internal:8443`",
                Quoted(origin)
            ),
            Self::NoHost => f.write_str(
                "no host is named that may receive lineage; name it with `.host(…)`, or say `.any_host()`",
            ),
            Self::Callee { source } => write!(f, "the callee cannot be used: {source}"),
            Self::Ceiling { found } => {
                write!(f, "the ceiling of what comes back is `{found}`; scores go from 0 to 100")
            }
            Self::NothingReturned => f.write_str(
                "settings for lineage that comes back need a verifier; add `.returned(verifier)`",
            ),
            Self::CannotJoin => f.write_str(
                "an interceptor does not see what comes back; use `OutboundLayer`, or settings without `.returned(…)`",
            ),
        }
    }
}

impl StdError for OutboundError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Callee { source } => Some(source),
            Self::Host { .. }
            | Self::Origin { .. }
            | Self::NoHost
            | Self::Ceiling { .. }
            | Self::NothingReturned
            | Self::CannotJoin => None,
        }
    }
}
