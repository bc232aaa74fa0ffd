//! Why a key cannot be used.

use std::error::Error as StdError;
use std::fmt;

use crate::jws::Algorithm;
use crate::text::{Quoted, Safe};
use crate::verify::CertificateError;

/// Why a key, or a set of them, cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeyError {
    /// Not a JSON object.
    NotAnObject {
        /// What should have been one.
        what: &'static str,
    },
    /// Not JSON at all, or JSON with duplicate members.
    Json(Box<dyn StdError + Send + Sync>),
    /// A member that must be there is not.
    Missing {
        /// Its name.
        member: &'static str,
    },
    /// A member has the wrong type or content.
    Malformed {
        /// Its name.
        member: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The key is private or symmetric.
    Private {
        /// The member that makes it so.
        member: &'static str,
    },
    /// A type, curve or algorithm that Kest does not use.
    Unsupported {
        /// The member.
        what: &'static str,
        /// Its value.
        found: String,
    },
    /// `alg` does not fit the type of the key.
    Mismatch {
        /// The key's `alg`.
        alg: Algorithm,
        /// The type of the key.
        kty: &'static str,
    },
    /// The key is not for verifying signatures.
    Purpose {
        /// What it is for.
        found: String,
    },
    /// Not a SubjectPublicKeyInfo that holds a key.
    Spki {
        /// What is wrong with it.
        why: &'static str,
    },
    /// Not a certificate.
    Certificate(CertificateError),
    /// A principal has no keys at all.
    NoKeys {
        /// The principal.
        principal: String,
    },
    /// A principal is anchored twice.
    Shadowed {
        /// The principal.
        principal: String,
    },
    /// A member stands twice in one object, below the principals.
    Repeated {
        /// The member.
        member: String,
    },
    /// A principal's keys are unusable.
    Principal {
        /// The principal.
        principal: String,
        /// Why.
        source: Box<KeyError>,
    },
    /// The source of the keys failed.
    Source(Box<dyn StdError + Send + Sync>),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnObject { what } => write!(f, "{what} must be a JSON object"),
            Self::Json(source) => write!(f, "cannot read keys: {}", Safe(source)),
            Self::Missing { member } => write!(f, "a key needs the member `{member}`"),
            Self::Malformed { member, why } => write!(f, "key member `{member}` {why}"),
            Self::Private { member } => {
                write!(f, "the key is private: it has the member `{member}`; give the public key alone")
            }
            Self::Unsupported { what, found } => write!(
                f,
                "unsupported key {what} {}; use Ed25519, P-256, P-384 or RSA of 2048 bits and more",
                Quoted(found)
            ),
            Self::Mismatch { alg, kty } => {
                write!(f, "key algorithm `{alg}` does not fit a key of type {kty}")
            }
            Self::Purpose { found } => {
                write!(f, "the key is for {}, not for verifying signatures", Quoted(found))
            }
            Self::Spki { why } => write!(f, "the public key in DER {why}"),
            Self::Certificate(source) => write!(f, "the certificate cannot be read: {source}"),
            Self::NoKeys { principal } => {
                write!(f, "principal {} is anchored without any key; add one or remove it", Quoted(principal))
            }
            Self::Shadowed { principal } => {
                write!(f, "principal {} is anchored twice; give all its keys in one place", Quoted(principal))
            }
            Self::Repeated { member } => {
                write!(f, "member {} stands twice in one object; keep one", Quoted(member))
            }
            Self::Principal { principal, source } => write!(f, "keys of {}: {source}", Quoted(principal)),
            Self::Source(source) => write!(f, "the key source failed: {}", Safe(source)),
        }
    }
}

impl StdError for KeyError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Json(source) | Self::Source(source) => Some(&**source),
            Self::Principal { source, .. } => Some(&**source),
            Self::Certificate(source) => Some(source),
            Self::NotAnObject { .. }
            | Self::Missing { .. }
            | Self::Malformed { .. }
            | Self::Private { .. }
            | Self::Unsupported { .. }
            | Self::Mismatch { .. }
            | Self::Purpose { .. }
            | Self::Spki { .. }
            | Self::NoKeys { .. }
            | Self::Repeated { .. }
            | Self::Shadowed { .. } => None,
        }
    }
}

/// Why a signature is not taken.
#[derive(Debug)]
#[non_exhaustive]
pub enum SignatureError {
    /// It is not this key's signature of this input.
    Wrong,
    /// The key is not for that algorithm.
    Mismatch {
        /// The algorithm.
        alg: Algorithm,
    },
    /// This build of kest cannot check that algorithm.
    Unsupported {
        /// The algorithm.
        alg: Algorithm,
    },
    /// The key itself cannot be used.
    Key(KeyError),
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong => f.write_str("the signature is wrong"),
            Self::Mismatch { alg } => write!(f, "algorithm `{alg}` does not fit the key"),
            Self::Unsupported { alg } => write!(
                f,
                "signatures of algorithm `{alg}` cannot be checked by this build; build kest with the feature `aws-lc`"
            ),
            Self::Key(source) => write!(f, "the key cannot be used: {source}"),
        }
    }
}

impl StdError for SignatureError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Key(source) => Some(source),
            Self::Wrong | Self::Mismatch { .. } | Self::Unsupported { .. } => None,
        }
    }
}
