//! Why a trust bundle cannot be used.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use super::super::spiffe_id::SpiffeIdError;
use super::super::x509::CertificateError;
use crate::canonical::CanonicalError;
use crate::keys::KeyError;
use crate::text::{Quoted, Safe};

/// Why a trust bundle cannot be used. Nothing of it is skipped.
#[derive(Debug)]
#[non_exhaustive]
pub enum BundleError {
    /// More bytes than the limit.
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// More certificates for one trust domain than the limit.
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// Not JSON, or JSON with duplicate members.
    Json(CanonicalError),
    /// Not a JSON object.
    NotAnObject {
        /// What should have been one.
        what: &'static str,
    },
    /// A member is missing, or has the wrong type or content.
    Member {
        /// Its name.
        member: &'static str,
        /// What is wrong.
        why: &'static str,
    },
    /// Not certificates in PEM.
    Pem {
        /// What is wrong.
        why: &'static str,
    },
    /// No name of a trust domain.
    TrustDomain(SpiffeIdError),
    /// A trust domain that is given twice, with different authorities.
    Repeated {
        /// The trust domain.
        trust_domain: String,
    },
    /// Two sources have different authorities for a trust domain.
    Conflict {
        /// The trust domain.
        trust_domain: String,
    },
    /// A source gave the authorities of another trust domain than it was asked for.
    OtherDomain {
        /// The other one.
        trust_domain: String,
    },
    /// A certificate that cannot be read.
    Certificate(CertificateError),
    /// A certificate that may not sign others. RFC 5280 §4.2.1.9, X509-SVID §4.1.
    NotAnAuthority,
    /// A certificate with a key of a kind that Kest does not use.
    Key(KeyError),
    /// The bundle of one trust domain cannot be used.
    Of {
        /// The trust domain.
        trust_domain: String,
        /// Why.
        source: Arc<BundleError>,
    },
}

impl BundleError {
    /// Whether a well-formed bundle is of certificates that cannot be used: that says nothing of other trust domains.
    pub(super) fn is_of_one_domain(&self) -> bool {
        matches!(self, Self::Key(_) | Self::NotAnAuthority | Self::TooMany { .. })
    }
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => write!(f, "the trust bundle is larger than {} KiB", limit >> 10),
            Self::TooMany { limit } => write!(f, "more than {limit} certificates for one trust domain"),
            Self::Json(source) => write!(f, "the trust bundle cannot be read: {}", Safe(source)),
            Self::NotAnObject { what } => write!(f, "{what} must be a JSON object"),
            Self::Member { member, why } => write!(f, "bundle member `{member}` {why}"),
            Self::Pem { why } => write!(f, "the PEM text {why}; give `BEGIN CERTIFICATE` blocks alone"),
            Self::TrustDomain(source) => source.fmt(f),
            Self::Repeated { trust_domain } => write!(
                f,
                "trust domain {} is given twice with different authorities; give all of them in one place",
                Quoted(trust_domain)
            ),
            Self::Conflict { trust_domain } => write!(
                f,
                "two sources have different bundles for {}; remove the stale one",
                Quoted(trust_domain)
            ),
            Self::OtherDomain { trust_domain } => write!(
                f,
                "authorities of {} were given for a principal of another trust domain",
                Quoted(trust_domain)
            ),
            Self::Certificate(source) => write!(f, "a certificate cannot be read: {source}"),
            Self::NotAnAuthority => f.write_str(
                "a certificate may not sign others (basicConstraints and keyUsage); give those of the authorities, \
                 not of workloads",
            ),
            Self::Key(source) => write!(f, "a certificate has a key that cannot be used: {source}"),
            Self::Of { trust_domain, source } => write!(f, "bundle of {}: {source}", Quoted(trust_domain)),
        }
    }
}

impl StdError for BundleError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Json(source) => Some(source),
            Self::TrustDomain(source) => Some(source),
            Self::Certificate(source) => Some(source),
            Self::Key(source) => Some(source),
            Self::Of { source, .. } => Some(&**source),
            Self::TooLarge { .. }
            | Self::TooMany { .. }
            | Self::NotAnObject { .. }
            | Self::Member { .. }
            | Self::Pem { .. }
            | Self::Repeated { .. }
            | Self::Conflict { .. }
            | Self::OtherDomain { .. }
            | Self::NotAnAuthority => None,
        }
    }
}
