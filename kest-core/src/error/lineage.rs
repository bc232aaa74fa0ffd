//! Of lineages, here and between services.

use std::error::Error as StdError;

use super::Error;

/// Kinds of [`LineageError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LineageErrorKind {
    /// A serialised passport cannot be read.
    Malformed,
    /// A passport did not verify.
    Unverified,
    /// The entry is larger than the limit.
    TooLarge,
}

detail!(
    /// A lineage that cannot be read, continued or trusted.
    LineageError,
    LineageErrorKind,
    Lineage
);

/// Kinds of [`PropagationError`]. Those that only arise once an answer is there say so:
/// [`PropagationError::call_was_made`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PropagationErrorKind {
    /// What came over the wire is no lineage: broken encoding, repeated or contradicting members, a wrong tip. No call
    /// was made.
    Malformed,
    /// It is, or would become, larger than a limit. No call was made.
    TooLarge,
    /// The claim check refers to nothing that the cache holds (any more). No call was made.
    ClaimNotFound,
    /// The cache of claim checks cannot be asked. No call was made.
    Cache,
    /// The lineage needs a claim check, and there is no cache that the receiver could read. No call was made.
    NoSharedCache,
    /// The host is not named as one that may receive lineage, or is another than the client goes to. No call was made.
    HostNotNamed,
    /// There is no lineage to take along, and there must be one. No call was made.
    NoLineage,
    /// What would be sent does not verify with the verifier for what comes back, so that nothing could be joined. No
    /// call was made.
    Unreturnable,
    /// What a service sent back cannot be joined. The call was made: the service may have acted.
    Returned,
}

detail!(
    /// A lineage that cannot be sent to another service, or received from one. Spec §12.
    PropagationError,
    PropagationErrorKind,
    Propagation
);

impl PropagationError {
    /// The first of these errors in an error and its causes. Clients wrap what a layer answers, some several deep, and
    /// an error that arises while a body is read is to them one of reading.
    ///
    /// ```
    /// use kest_core::error::{PropagationError, PropagationErrorKind};
    ///
    /// let ours = PropagationError::new(PropagationErrorKind::Returned, "no lineage came back");
    /// let error = std::io::Error::other(ours);
    /// // Not to be made again as if nothing had happened.
    /// assert!(PropagationError::find(&error).is_some_and(PropagationError::call_was_made));
    /// ```
    #[must_use]
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        let mut at = Some(error);
        while let Some(error) = at {
            if let Some(ours) = error.downcast_ref() {
                return Some(ours);
            }
            // Both give the cause of what they hold as their own.
            at = match (error.downcast_ref(), error.downcast_ref::<std::io::Error>()) {
                (Some(Error::Propagation(ours)), _) => return Some(ours),
                (_, Some(io)) => io.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
                (Some(_) | None, None) => error.source(),
            };
        }
        None
    }

    /// Whether it is about the answer to a call: the call was made, and the service may have acted. Such a call must not
    /// be retried as if nothing had happened.
    #[must_use]
    pub fn call_was_made(&self) -> bool {
        match self.kind {
            PropagationErrorKind::Returned => true,
            PropagationErrorKind::Malformed
            | PropagationErrorKind::TooLarge
            | PropagationErrorKind::ClaimNotFound
            | PropagationErrorKind::Cache
            | PropagationErrorKind::NoSharedCache
            | PropagationErrorKind::HostNotNamed
            | PropagationErrorKind::NoLineage
            | PropagationErrorKind::Unreturnable => false,
        }
    }
}
