//! Claim checks: a reference on the wire instead of a passport that is too large for it. Spec §12.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use uuid::{Uuid, Variant, Version};

use crate::error::{PropagationError, PropagationErrorKind};
pub use crate::identity::BoxFuture;
use crate::text::Quoted;

/// How long a claim can be redeemed: 300 s.
pub const TTL: Duration = Duration::from_secs(300);

/// Keeps passports for whoever shows the claim check.
///
/// What a cache gives back is as little believed as what came in a header: it is verified.
pub trait ClaimCache: fmt::Debug + Send + Sync {
    /// Keeps the JSON text of a passport for `ttl`. May block.
    ///
    /// # Errors
    /// When the cache cannot be asked, or has no room.
    fn put(&self, claim: &ClaimId, passport: &str, ttl: Duration) -> Result<(), PropagationError>;

    /// The text that was kept under the claim, for as often as it is asked until its time is over; none if there is
    /// none. May block.
    ///
    /// # Errors
    /// When the cache cannot be asked, or what it holds is no text.
    fn get(&self, claim: &ClaimId) -> Result<Option<Arc<str>>, PropagationError>;

    /// [`Self::put`] without blocking the calling thread.
    fn put_async<'a>(
        &'a self,
        claim: &'a ClaimId,
        passport: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<(), PropagationError>>;

    /// [`Self::get`] without blocking the calling thread.
    fn get_async<'a>(
        &'a self,
        claim: &'a ClaimId,
    ) -> BoxFuture<'a, Result<Option<Arc<str>>, PropagationError>>;

    /// Whether other services read the same cache. A claim check in one that they do not read is a lost lineage.
    fn is_shared(&self) -> bool;
}

impl<T: ClaimCache + ?Sized> ClaimCache for Arc<T> {
    fn put(&self, claim: &ClaimId, passport: &str, ttl: Duration) -> Result<(), PropagationError> {
        (**self).put(claim, passport, ttl)
    }

    fn get(&self, claim: &ClaimId) -> Result<Option<Arc<str>>, PropagationError> {
        (**self).get(claim)
    }

    fn put_async<'a>(
        &'a self,
        claim: &'a ClaimId,
        passport: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<(), PropagationError>> {
        (**self).put_async(claim, passport, ttl)
    }

    fn get_async<'a>(
        &'a self,
        claim: &'a ClaimId,
    ) -> BoxFuture<'a, Result<Option<Arc<str>>, PropagationError>> {
        (**self).get_async(claim)
    }

    fn is_shared(&self) -> bool {
        (**self).is_shared()
    }
}

/// The name of a claim: a random UUID (version 4, RFC 9562 §5.4) in lowercase.
///
/// Whoever knows it can read the passport, so it is shown nowhere but on the wire.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ClaimId(Uuid);

impl ClaimId {
    /// A new one, with 122 random bits.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// The key in the cache: `kest.claim.<id>`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("kest.claim.{}", self.0.hyphenated())
    }

    /// The text on the wire.
    #[must_use]
    pub fn to_wire(&self) -> String {
        self.0.hyphenated().to_string()
    }
}

impl FromStr for ClaimId {
    type Err = PropagationError;

    /// Reads what was on the wire: 36 characters, lowercase, version 4. What goes into a key of a cache is never
    /// the sender's free text.
    fn from_str(text: &str) -> Result<Self, PropagationError> {
        let random = |id: &Uuid| {
            id.get_version() == Some(Version::Random)
                && id.get_variant() == Variant::RFC4122
                && id.hyphenated().to_string() == text
        };
        Uuid::try_parse(text).ok().filter(random).map(Self).ok_or_else(|| {
            PropagationError::new(
                PropagationErrorKind::Malformed,
                format!("claim check {} is no lowercase UUID of version 4", Quoted(text)),
            )
        })
    }
}

impl fmt::Debug for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClaimId(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_cache_could_have_named_is_a_claim() {
        let claim = ClaimId::random();
        assert_eq!(claim.to_wire().parse::<ClaimId>().unwrap(), claim);
        assert_eq!(claim.key(), format!("kest.claim.{}", claim.to_wire()));
        assert!(!format!("{claim:?}").contains(&claim.to_wire()));
        for wrong in [
            "",
            "*",
            "x\r\nDEL kest.claim",
            "00000000-0000-0000-0000-000000000000",
            "0193a1b2-7c3d-7e4f-8a5b-6c7d8e9fa0b1",
            "F47AC10B-58CC-4372-A567-0E02B2C3D479",
            "f47ac10b58cc4372a5670e02b2c3d479",
            "{f47ac10b-58cc-4372-a567-0e02b2c3d479}",
        ] {
            let error = wrong.parse::<ClaimId>().unwrap_err();
            assert_eq!(error.kind(), PropagationErrorKind::Malformed, "{wrong}");
        }
    }
}
