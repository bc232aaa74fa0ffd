//! What can go wrong, one kind per cause. Spec §16.
//!
//! Messages are lower case, without a full stop, with the user's input in backticks and the fix named. `Debug`, which is what
//! `main` prints of an error that it returns, is the message, with such causes as it does not tell.

use std::error::Error as StdError;
use std::fmt;

use crate::canonical::CanonicalError;
use crate::text;

type Source = Box<dyn StdError + Send + Sync + 'static>;

/// Why a protected function did not run, or (see [`Error::already_executed`]) could not be recorded.
#[non_exhaustive]
pub enum Error {
    /// No identity, or one that cannot sign.
    Identity(IdentityError),
    /// A policy said no.
    PolicyDenied(PolicyDenied),
    /// A policy could not be asked, or gave no usable answer.
    PolicyUnavailable(PolicyUnavailable),
    /// Wrong or missing configuration, or a wrong attribute value.
    Configuration(ConfigurationError),
    /// A lineage that cannot be read, continued or trusted.
    Lineage(LineageError),
    /// A lineage that cannot be sent to another service, or received from one.
    Propagation(PropagationError),
    /// The durable audit sink did not take the entry.
    Audit(AuditError),
    /// A value that JCS (RFC 8785) cannot carry.
    Canonicalization(CanonicalizationError),
    /// The function ran, and its `completion` entry could not be made.
    Completion(CompletionError),
}

impl Error {
    /// Whether a policy itself said no. An engine that could not answer is not a denial.
    ///
    /// A protected function that passes on the error of a call it made with `?` returns *that* call's denial, and
    /// has itself run: [`PolicyDenied::operation`] says whose denial it is.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::PolicyDenied(_))
    }

    /// Whether something is known to have run: the protected function, whose output could not be recorded, or a call to
    /// another service, whose lineage could not be joined ([`PropagationError::call_was_made`]). Such a call must not
    /// be retried. An error that the function itself returned, a denial of a call inside it included, says nothing
    /// about this.
    #[must_use]
    pub fn already_executed(&self) -> bool {
        match self {
            Self::Completion(_) => true,
            Self::Propagation(error) => error.call_was_made(),
            Self::Identity(_)
            | Self::PolicyDenied(_)
            | Self::PolicyUnavailable(_)
            | Self::Configuration(_)
            | Self::Lineage(_)
            | Self::Audit(_)
            | Self::Canonicalization(_) => false,
        }
    }

    /// The denial, when a policy said no.
    #[must_use]
    pub fn denial(&self) -> Option<&PolicyDenied> {
        match self {
            Self::PolicyDenied(denial) => Some(denial),
            _ => None,
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::debug(self, f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity(e) => e.fmt(f),
            Self::PolicyDenied(e) => e.fmt(f),
            Self::PolicyUnavailable(e) => e.fmt(f),
            Self::Configuration(e) => e.fmt(f),
            Self::Lineage(e) => e.fmt(f),
            Self::Propagation(e) => e.fmt(f),
            Self::Audit(e) => e.fmt(f),
            Self::Canonicalization(e) => e.fmt(f),
            Self::Completion(e) => e.fmt(f),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Identity(e) => e.source(),
            Self::PolicyDenied(e) => e.source(),
            Self::PolicyUnavailable(e) => e.source(),
            Self::Configuration(e) => e.source(),
            Self::Lineage(e) => e.source(),
            Self::Propagation(e) => e.source(),
            Self::Audit(e) => e.source(),
            Self::Canonicalization(e) => e.source(),
            Self::Completion(e) => e.source(),
        }
    }
}

/// A detail struct: a kind to branch on, a message, and what caused it.
macro_rules! detail {
    ($(#[$doc:meta])* $name:ident, $kind:ident, $variant:ident) => {
        $(#[$doc])*
        pub struct $name {
            kind: $kind,
            message: String,
            source: Option<Source>,
        }

        impl $name {
            /// An error of that kind.
            #[must_use]
            pub fn new(kind: $kind, message: impl Into<String>) -> Self {
                Self { kind, message: message.into(), source: None }
            }

            /// The same error with what caused it.
            #[must_use]
            pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync + 'static>>) -> Self {
                self.source = Some(source.into());
                self
            }

            /// What to branch on.
            #[must_use]
            pub fn kind(&self) -> $kind {
                self.kind
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                text::debug(self, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.message)
            }
        }

        impl StdError for $name {
            fn source(&self) -> Option<&(dyn StdError + 'static)> {
                self.source.as_deref().map(|s| s as &(dyn StdError + 'static))
            }
        }

        impl From<$name> for Error {
            fn from(error: $name) -> Self {
                Self::$variant(error)
            }
        }
    };
}

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

/// Kinds of [`PolicyUnavailable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PolicyErrorKind {
    /// The engine does not know the policy.
    UnknownPolicy,
    /// The policy failed while it was evaluated.
    Evaluation,
    /// The call's input has something that the engine cannot hold, such as a fraction for Cedar.
    Input,
    /// The answer is not a decision.
    MalformedAnswer,
    /// The answer is larger than allowed.
    TooLarge,
    /// A remote engine answered with a status other than success.
    Status,
    /// A remote engine did not accept the credentials.
    Refused,
    /// A remote engine asks to slow down.
    Throttled,
    /// The engine did not answer in time.
    Timeout,
    /// The engine could not be reached, or the connection broke.
    Connection,
    /// A policy cannot be used.
    Load,
}

detail!(
    /// A policy could not be asked, or gave no usable answer. The function did not run.
    PolicyUnavailable,
    PolicyErrorKind,
    PolicyUnavailable
);

/// Kinds of [`ConfigurationError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConfigurationErrorKind {
    /// No `Kest` is configured.
    MissingKest,
    /// No identity provider is configured.
    MissingIdentity,
    /// No policy engine is configured.
    MissingEngine,
    /// `kest.toml` is absent although the code was compiled with one.
    MissingConfig,
    /// `kest.toml` cannot be read or has wrong content.
    ConfigFile,
    /// A source type is not known.
    UnknownSource,
    /// A source type cannot be registered.
    SourceRegistration,
    /// A root may not claim this source in its scope.
    RootSource,
    /// A trust override is out of range.
    TrustOverride,
    /// A policy list is empty or a name is not one.
    PolicyNames,
    /// A taint is empty or too long, there are too many, or one is removed without being a sanitiser.
    Taints,
    /// A label's name is reserved or repeated.
    Labels,
    /// An attribute value has the wrong type or is too large.
    Attribute,
    /// The global `Kest` is set already.
    AlreadyConfigured,
    /// A layer of a service or of a client has a setting that cannot be used.
    Layer,
    /// The audit sink that the configuration names cannot be opened.
    Audit,
}

detail!(
    /// Wrong or missing configuration, or a wrong attribute value.
    ConfigurationError,
    ConfigurationErrorKind,
    Configuration
);

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

/// Kinds of [`AuditError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuditErrorKind {
    /// The store is full, or has more to do than it may keep waiting.
    Full,
    /// The store cannot be written.
    Write,
    /// The sink has been closed.
    Closed,
    /// The store did not acknowledge in time.
    Timeout,
    /// The store cannot be opened.
    Open,
    /// Another writer has the store open.
    Locked,
    /// Somebody else has moved, deleted, replaced or changed a file of the store while it was written.
    Changed,
    /// The configuration names a store, and nobody has opened it.
    NotOpen,
    /// The public keys that belong beside the entry cannot be had.
    Keys,
    /// What is to be recorded is no entry.
    Malformed,
}

detail!(
    /// The durable audit sink did not take the entry. The function did not run.
    AuditError,
    AuditErrorKind,
    Audit
);

/// A policy said no. The function did not run, and nothing was appended to the passport.
pub struct PolicyDenied(Box<Denial>);

struct Denial {
    policy: String,
    tier: &'static str,
    reason: Option<String>,
    entry_id: String,
    operation: String,
    hint: Option<String>,
}

impl PolicyDenied {
    pub(crate) fn new(
        policy: &str,
        tier: &'static str,
        reason: Option<String>,
        entry_id: &str,
        operation: &str,
        hint: Option<String>,
    ) -> Self {
        Self(Box::new(Denial {
            policy: policy.to_owned(),
            tier,
            reason,
            entry_id: entry_id.to_owned(),
            operation: operation.to_owned(),
            hint,
        }))
    }

    /// Name of the policy.
    #[must_use]
    pub fn policy(&self) -> &str {
        &self.0.policy
    }

    /// Tier of the policy: `enterprise`, `platform`, `application` or `function`.
    #[must_use]
    pub fn tier(&self) -> &str {
        self.0.tier
    }

    /// What the policy gave as its reason, if it gave one.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// The id under which the denial was logged.
    #[must_use]
    pub fn entry_id(&self) -> &str {
        &self.0.entry_id
    }

    /// The operation that did not run.
    #[must_use]
    pub fn operation(&self) -> &str {
        &self.0.operation
    }
}

impl fmt::Debug for PolicyDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::debug(self, f)
    }
}

impl fmt::Display for PolicyDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let d = &self.0;
        write!(f, "{} policy `{}` denied `{}`", d.tier, d.policy, d.operation)?;
        if let Some(reason) = &d.reason {
            write!(f, ": {reason}")?;
        }
        if let Some(hint) = &d.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl StdError for PolicyDenied {}

impl From<PolicyDenied> for Error {
    fn from(error: PolicyDenied) -> Self {
        Self::PolicyDenied(error)
    }
}

/// A value that JCS (RFC 8785) cannot carry. The function did not run, and no policy was asked.
pub struct CanonicalizationError {
    place: String,
    source: CanonicalError,
}

impl CanonicalizationError {
    /// The error of the value at `place`.
    #[must_use]
    pub fn new(place: impl Into<String>, source: CanonicalError) -> Self {
        Self { place: place.into(), source }
    }

    /// Where the value stands, such as `user`.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }
}

impl fmt::Debug for CanonicalizationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::debug(self, f)
    }
}

impl fmt::Display for CanonicalizationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` cannot be recorded: {}", self.place, self.source)
    }
}

impl StdError for CanonicalizationError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.source)
    }
}

impl From<CanonicalizationError> for Error {
    fn from(error: CanonicalizationError) -> Self {
        Self::Canonicalization(error)
    }
}

impl CanonicalError {
    /// The error of an attribute value.
    pub(crate) fn in_attribute(self, attribute: &str, name: &str) -> CanonicalizationError {
        match attribute {
            "attribute" => CanonicalizationError::new(name, self),
            other => CanonicalizationError::new(format!("{other}({name})"), self),
        }
    }
}

/// The function has run, and its `completion` entry could not be made. Do not retry the call. Spec §6.
pub struct CompletionError {
    operation: String,
    entry_id: String,
    source: Box<Error>,
}

impl CompletionError {
    pub(crate) fn new(operation: &str, entry_id: &str, source: Error) -> Self {
        Self { operation: operation.to_owned(), entry_id: entry_id.to_owned(), source: Box::new(source) }
    }

    /// The id of the entry of the call that has run.
    #[must_use]
    pub fn entry_id(&self) -> &str {
        &self.entry_id
    }
}

impl fmt::Debug for CompletionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::debug(self, f)
    }
}

impl fmt::Display for CompletionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` has run, but its output could not be recorded; do not retry it: {}",
            self.operation, self.source
        )
    }
}

impl StdError for CompletionError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}

impl From<CompletionError> for Error {
    fn from(error: CompletionError) -> Self {
        Self::Completion(error)
    }
}
