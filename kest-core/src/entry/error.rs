//! Why a payload is no entry.

use std::fmt;

use crate::canonical::{CanonicalError, Kind};
use crate::text::{Quoted, Safe};

/// Why a payload is no entry, one variant per rule of spec §2.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryError {
    /// Not JSON, or JSON in another than the canonical form.
    Canonical(CanonicalError),
    /// A member has another type.
    Type {
        /// The member.
        member: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: Kind,
    },
    /// A member is missing.
    Missing {
        /// The member.
        member: &'static str,
    },
    /// A member that no entry has.
    Unknown {
        /// The member.
        member: String,
    },
    /// A schema that this library does not read.
    SchemaVersion {
        /// The version.
        found: String,
    },
    /// `entry_id` is no UUID v7.
    EntryId {
        /// What it is.
        found: String,
    },
    /// `operation` is empty.
    Operation,
    /// `trust_score` is over 100.
    TrustScore {
        /// The score.
        found: u64,
    },
    /// `parent_ids` is neither `["0"]` nor a list of hashes.
    ParentIds {
        /// What is wrong.
        problem: &'static str,
    },
    /// A list of taints is not sorted, not unique, or holds an empty one.
    Taints {
        /// The list.
        member: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// A label is missing or malformed.
    Label {
        /// The label.
        label: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// `content_hash` or `input_hash` is neither empty nor a hash.
    Hash {
        /// The member.
        member: &'static str,
    },
    /// Another member is malformed.
    Malformed {
        /// The member.
        member: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
}

impl EntryError {
    /// The same error, of that member.
    pub(super) fn of(self, name: &'static str) -> Self {
        match self {
            Self::Type { member: "", expected, found } => Self::Type { member: name, expected, found },
            other => other,
        }
    }
}

impl From<CanonicalError> for EntryError {
    fn from(error: CanonicalError) -> Self {
        match error {
            CanonicalError::Unexpected { expected, found, .. } => Self::Type { member: "", expected, found },
            other => Self::Canonical(other),
        }
    }
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Canonical(error) => Safe(error).fmt(f),
            Self::Type { member: "", expected, found } => write!(f, "the payload is {found}, not {expected}"),
            Self::Type { member, expected, found } => {
                write!(f, "`{member}` holds {found} where {expected} belongs")
            }
            Self::Missing { member } => write!(f, "`{member}` is missing"),
            Self::Unknown { member } => write!(f, "{} is no member of an entry", Quoted(member)),
            Self::SchemaVersion { found } => {
                write!(f, "schema version {} is not `{}`", Quoted(found), crate::payload::SCHEMA_VERSION)
            }
            Self::EntryId { found } => write!(f, "entry id {} is no UUID v7 (RFC 9562 §5.7)", Quoted(found)),
            Self::Operation => f.write_str("`operation` is empty"),
            Self::TrustScore { found } => write!(f, "trust score `{found}` is outside 0 to 100"),
            Self::ParentIds { problem } => {
                write!(f, "`parent_ids` {problem}; a root has `[\"0\"]`, others the hashes of their parents")
            }
            Self::Taints { member, problem } => write!(f, "`{member}` {problem}"),
            Self::Label { label, problem } => write!(f, "label {} {problem}", Quoted(label)),
            Self::Hash { member } => write!(f, "`{member}` is neither empty nor a SHA-256 in lowercase hex"),
            Self::Malformed { member, problem } => write!(f, "`{member}` {problem}"),
        }
    }
}

impl std::error::Error for EntryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Canonical(error) => Some(error),
            Self::Type { .. }
            | Self::Missing { .. }
            | Self::Unknown { .. }
            | Self::SchemaVersion { .. }
            | Self::EntryId { .. }
            | Self::Operation
            | Self::TrustScore { .. }
            | Self::ParentIds { .. }
            | Self::Taints { .. }
            | Self::Label { .. }
            | Self::Hash { .. }
            | Self::Malformed { .. } => None,
        }
    }
}
