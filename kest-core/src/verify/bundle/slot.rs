//! What a map of bundles has for a trust domain.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::{Authorities, BundleError};

/// The authorities of one trust domain, or the bundle whose authorities cannot be used.
#[derive(Clone)]
pub(super) enum Slot {
    Usable(Arc<Authorities>),
    Unusable {
        /// As it came.
        bundle: Arc<Value>,
        source: Arc<BundleError>,
    },
}

impl Slot {
    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Usable(authorities) => authorities.to_json(),
            Self::Unusable { bundle, .. } => Value::clone(bundle),
        }
    }
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Usable(one), Self::Usable(other)) => one == other,
            // The error follows from the bundle.
            (Self::Unusable { bundle: one, .. }, Self::Unusable { bundle: other, .. }) => one == other,
            (Self::Usable(_), Self::Unusable { .. }) | (Self::Unusable { .. }, Self::Usable(_)) => false,
        }
    }
}

impl Eq for Slot {}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usable(authorities) => authorities.fmt(f),
            Self::Unusable { source, .. } => source.fmt(f),
        }
    }
}
