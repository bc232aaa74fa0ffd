//! The identities that can be detected.

use std::fmt;
use std::str::FromStr;

/// A kind of identity that can be detected, in the order of the probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Candidate {
    /// `SpireProvider`.
    Spire,
    /// `BedrockAgentIdentity`.
    Bedrock,
    /// `AwsWorkloadIdentity`.
    Aws,
    /// `OidcIdentity`.
    Oidc,
    /// `LocalEd25519Provider`.
    Local,
}

impl Candidate {
    /// All of them, in the order of the probes. Spec §10.
    pub const ALL: [Self; 5] = [Self::Spire, Self::Bedrock, Self::Aws, Self::Oidc, Self::Local];

    /// The name that `KEST_IDENTITY` knows it by. It is the cargo feature too, except for `local`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Spire => "spire",
            Self::Bedrock => "bedrock",
            Self::Aws => "aws",
            Self::Oidc => "oidc",
            Self::Local => "local",
        }
    }

    /// The provider's type.
    #[must_use]
    pub fn provider(self) -> &'static str {
        match self {
            Self::Spire => "SpireProvider",
            Self::Bedrock => "BedrockAgentIdentity",
            Self::Aws => "AwsWorkloadIdentity",
            Self::Oidc => "OidcIdentity",
            Self::Local => "LocalEd25519Provider",
        }
    }

    /// Whether this program was built with it.
    #[must_use]
    pub fn is_compiled(self) -> bool {
        match self {
            Self::Spire => cfg!(feature = "spire"),
            Self::Bedrock => cfg!(feature = "bedrock"),
            Self::Aws => cfg!(feature = "aws"),
            Self::Oidc => cfg!(feature = "oidc"),
            Self::Local => true,
        }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Candidate {
    type Err = UnknownCandidate;

    fn from_str(name: &str) -> Result<Self, UnknownCandidate> {
        Self::ALL.into_iter().find(|candidate| candidate.name() == name).ok_or(UnknownCandidate)
    }
}

/// The name is none of a [`Candidate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCandidate;

impl fmt::Display for UnknownCandidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such identity; the names are ")?;
        for (index, candidate) in Candidate::ALL.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            write!(f, "`{candidate}`")?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownCandidate {}
