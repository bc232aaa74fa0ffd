//! Why a certificate chain does not speak for a principal.

use std::error::Error as StdError;
use std::fmt;

use crate::keys::KeyError;
use crate::text::Quoted;

/// Why the chain in `x5c` does not speak for the principal of its entry.
#[derive(Debug)]
#[non_exhaustive]
pub enum ChainError {
    /// This build knows no X.509.
    NotBuilt,
    /// The entry has no `x5c`, and its principal no other anchor.
    Missing,
    /// A certificate of the chain cannot be read.
    Unreadable {
        /// Its place; the leaf has 0.
        index: usize,
    },
    /// A certificate is not issued by the one after it. RFC 7515 §4.1.6.
    Order {
        /// Its place.
        index: usize,
    },
    /// A certificate has the name of another one above the leaf, so that the order of the chain would not be the only
    /// one possible.
    SameName {
        /// Its place.
        index: usize,
    },
    /// A certificate is on no path to an authority.
    Unneeded {
        /// Its place.
        index: usize,
    },
    /// The leaf has no URI SAN. X509-SVID §2.
    NoSpiffeId,
    /// The leaf has several URI SANs.
    SeveralIds {
        /// How many.
        found: usize,
    },
    /// The leaf is for somebody else.
    OtherId {
        /// For whom.
        found: String,
    },
    /// The leaf is the certificate of an authority.
    LeafIsAuthority,
    /// The leaf does not say what its key is for. X509-SVID §4.3.
    NoKeyUsage,
    /// The leaf's key is for something else.
    KeyUsage {
        /// What is wrong.
        why: &'static str,
    },
    /// A certificate further up may not sign others.
    NotAnAuthority,
    /// The leaf's key is of a kind that Kest does not use.
    Key(KeyError),
    /// `kid` is not the thumbprint of the leaf's key.
    Kid {
        /// The header's `kid`.
        kid: String,
    },
    /// A certificate of the chain, or the authority behind it, has expired.
    Expired {
        /// For how many seconds.
        seconds: u64,
        /// At which time.
        moment: Moment,
    },
    /// A certificate of the chain, or the authority behind it, is not valid yet.
    NotYetValid {
        /// For how many seconds.
        seconds: u64,
        /// At which time.
        moment: Moment,
    },
    /// The entry is dated before its certificate was valid. A certificate that an authority dates back a little, and a
    /// clock that is a little behind, are allowed for.
    Predates {
        /// By how many seconds.
        seconds: u64,
    },
    /// None of the trust domain's authorities stands behind the chain.
    UnknownAuthority {
        /// The trust domain.
        trust_domain: String,
    },
    /// A certificate of the chain does not bear its issuer's signature.
    Signature,
    /// More certificates than a path may have, or than one of its authorities allows.
    TooLong,
    /// The validation takes more steps than a chain is worth.
    TooCostly,
    /// The names in the chain are not those that one of its authorities may give.
    NameConstraint,
    /// A signature algorithm in the chain that Kest does not use.
    Algorithm,
    /// Another rule of RFC 5280.
    Rule {
        /// What the validation said.
        what: &'static str,
    },
}

/// The time at which a certificate must be valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Moment {
    /// Now, give or take the skew: at ingress.
    Now,
    /// When the passport was received.
    Received,
    /// When the entry says that it was made.
    Asserted,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Now => "now",
            Self::Received => "when the passport was received",
            Self::Asserted => "at the time of the entry",
        })
    }
}

impl fmt::Display for ChainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBuilt => {
                f.write_str("this build checks no certificates; build kest with the feature `aws-lc`")
            }
            Self::Missing => f.write_str(
                "the entry has no certificate chain (`x5c`), and its principal no anchored key; sign with an X.509-SVID, \
                 or anchor the key",
            ),
            Self::Unreadable { index } => write!(f, "certificate {index} of the chain cannot be read"),
            Self::Order { index } => {
                write!(f, "certificate {index} of the chain is not issued by the one after it")
            }
            Self::SameName { index } => {
                write!(f, "certificate {index} of the chain has the name of another one; send one path, leaf first")
            }
            Self::Unneeded { index } => {
                write!(f, "certificate {index} of the chain is not needed; send one path, leaf first")
            }
            Self::NoSpiffeId => f.write_str("the leaf has no URI SAN, so it is for nobody"),
            Self::SeveralIds { found } => write!(f, "the leaf has {found} URI SANs, where an SVID has one"),
            Self::OtherId { found } => write!(f, "the leaf is for {}", Quoted(found)),
            Self::LeafIsAuthority => f.write_str("the leaf is the certificate of an authority"),
            Self::NoKeyUsage => f.write_str("the leaf does not say what its key is for (`keyUsage`)"),
            Self::KeyUsage { why } => write!(f, "the leaf's key {why}"),
            Self::NotAnAuthority => f.write_str("a certificate above the leaf may not sign others"),
            Self::Key(source) => write!(f, "the leaf's key cannot be used: {source}"),
            Self::Kid { kid } => write!(f, "`kid` {} is not the leaf's key", Quoted(kid)),
            Self::Expired { seconds, moment } => {
                write!(f, "a certificate of the chain was expired {moment}, by {seconds} s")
            }
            Self::NotYetValid { seconds, moment } => {
                write!(f, "a certificate of the chain was not valid yet {moment}, by {seconds} s")
            }
            Self::Predates { seconds } => {
                write!(f, "the entry is dated {seconds} s before its certificate was valid")
            }
            Self::UnknownAuthority { trust_domain } => {
                write!(f, "no authority of trust domain {} stands behind it", Quoted(trust_domain))
            }
            Self::Signature => f.write_str("a certificate does not bear its issuer's signature"),
            Self::TooLong => f.write_str("there are more certificates than a path may have"),
            Self::TooCostly => f.write_str("the chain takes too many steps to validate; send one path, leaf first"),
            Self::NameConstraint => {
                f.write_str("an authority in the chain may not give this name (name constraints)")
            }
            Self::Algorithm => f.write_str("a certificate is signed with an algorithm that Kest does not use"),
            Self::Rule { what } => write!(f, "RFC 5280: {what}"),
        }
    }
}

impl StdError for ChainError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Key(source) => Some(source),
            Self::NotBuilt
            | Self::Missing
            | Self::Unreadable { .. }
            | Self::Order { .. }
            | Self::SameName { .. }
            | Self::Unneeded { .. }
            | Self::NoSpiffeId
            | Self::SeveralIds { .. }
            | Self::OtherId { .. }
            | Self::LeafIsAuthority
            | Self::NoKeyUsage
            | Self::KeyUsage { .. }
            | Self::NotAnAuthority
            | Self::Kid { .. }
            | Self::Expired { .. }
            | Self::NotYetValid { .. }
            | Self::Predates { .. }
            | Self::UnknownAuthority { .. }
            | Self::Signature
            | Self::TooLong
            | Self::TooCostly
            | Self::NameConstraint
            | Self::Algorithm
            | Self::Rule { .. } => None,
        }
    }
}
