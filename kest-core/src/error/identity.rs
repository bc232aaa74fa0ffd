//! Of identities.

/// Kinds of [`IdentityError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IdentityErrorKind {
    /// No identity provider is configured, or the platform gave none.
    Missing,
    /// The provider could not be reached.
    Connection,
    /// The workload's document has expired and was not renewed.
    SvidExpired,
    /// A trust domain is not known.
    TrustDomain,
    /// The key could not sign.
    Signing,
    /// A provider may not be used here (such as an ephemeral key in production), or may not do what it was asked.
    Refused,
    /// A token or a document does not prove what it should.
    Untrusted,
    /// The provider asks to slow down.
    Throttled,
}

detail!(
    /// No identity, or one that cannot sign.
    IdentityError,
    IdentityErrorKind,
    Identity
);
