//! Where the keys of a principal come from. Spec §13.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::bundle::Authorities;
use crate::canonical::{CanonicalError, parse_strict};
use crate::identity::IdentityProvider;
use crate::jws::Algorithm;
use crate::keys::{Jwks, KeyError};

/// Gives the public keys of a principal.
pub trait KeySource: fmt::Debug + Send + Sync {
    /// The keys of `principal`; none if the source does not know it. A workload whose identity comes from OpenID
    /// Connect is asked for as `<issuer>#<subject>`, see [`KestEntry::anchored_as`](crate::entry::KestEntry::anchored_as).
    ///
    /// # Errors
    /// When the source cannot answer. That fails the verification: it is never taken for "unknown".
    fn keys(&self, principal: &str) -> Result<Option<Jwks>, KeyError>;

    /// The authorities whose certificates speak for `principal`: those of the trust domain of its SPIFFE ID. None if
    /// the source has none, which is what sources of keys alone say. They count for principals that no source has
    /// keys of.
    ///
    /// # Errors
    /// When the source cannot answer. That fails the verification: it is never taken for "none".
    fn authorities(&self, principal: &str) -> Result<Option<Arc<Authorities>>, KeyError> {
        let _ = principal;
        Ok(None)
    }

    /// Whether asking it now could keep the calling thread waiting, for a server or an agent. Services then verify on a
    /// thread that may wait. Yes, unless a source says otherwise.
    fn may_block(&self) -> bool {
        true
    }
}

impl<T: KeySource + ?Sized> KeySource for Arc<T> {
    fn keys(&self, principal: &str) -> Result<Option<Jwks>, KeyError> {
        (**self).keys(principal)
    }

    fn authorities(&self, principal: &str) -> Result<Option<Arc<Authorities>>, KeyError> {
        (**self).authorities(principal)
    }

    fn may_block(&self) -> bool {
        (**self).may_block()
    }
}

impl<T: KeySource + ?Sized> KeySource for Box<T> {
    fn keys(&self, principal: &str) -> Result<Option<Jwks>, KeyError> {
        (**self).keys(principal)
    }

    fn authorities(&self, principal: &str) -> Result<Option<Arc<Authorities>>, KeyError> {
        (**self).authorities(principal)
    }

    fn may_block(&self) -> bool {
        (**self).may_block()
    }
}

/// Trust anchors: a map of workload id → JWK set.
///
/// INVARIANT: no principal has an empty set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anchors(BTreeMap<String, Jwks>);

impl Anchors {
    /// No anchors: every principal is unknown.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads `{"<workload id>":{"keys":[<JWK>…]}}`.
    ///
    /// # Errors
    /// When the text is something else, a principal stands in it twice or has no keys, or a key is unusable.
    pub fn from_json(text: &[u8]) -> Result<Self, KeyError> {
        let value = parse_strict(text).map_err(|error| match error {
            CanonicalError::DuplicateMember { name } if is_top_level_twice(text, &name) => {
                KeyError::Shadowed { principal: name }
            }
            CanonicalError::DuplicateMember { name } => KeyError::Repeated { member: name },
            other => KeyError::Json(Box::new(other)),
        })?;
        let Value::Object(principals) = value else {
            return Err(KeyError::NotAnObject { what: "the map of trust anchors" });
        };
        let mut anchors = Self::new();
        for (principal, keys) in &principals {
            let keys = Jwks::from_json(keys).map_err(|source| KeyError::Principal {
                principal: principal.clone(),
                source: Box::new(source),
            })?;
            anchors.insert(principal, keys)?;
        }
        Ok(anchors)
    }

    /// The map as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let members: Map<String, Value> =
            self.0.iter().map(|(id, keys)| (id.clone(), keys.to_json())).collect();
        Value::Object(members)
    }

    /// The id and the keys of a provider, as they are now. If the identity is of OpenID Connect, the id is
    /// `<issuer>#<subject>`.
    ///
    /// # Errors
    /// When the provider has no id, or no public key that could be anchored (the mock provider has none).
    pub fn from_provider(provider: &dyn IdentityProvider) -> Result<Self, KeyError> {
        let source = |error| KeyError::Source(Box::new(error));
        let mut anchors = Self::new();
        // First: a provider may learn the rest with it.
        let id = provider.workload_id().map_err(source)?;
        let oidc = provider.attributes().and_then(|attributes| attributes.oidc.as_ref());
        let name = oidc.map_or(Cow::Borrowed(&*id), |subject| Cow::Owned(subject.anchored_as()));
        anchors.insert(&name, provider.public_keys().map_err(source)?)?;
        Ok(anchors)
    }

    /// Anchors a principal.
    ///
    /// # Errors
    /// When the id or the set is empty, or the principal is anchored already with other keys.
    pub fn insert(&mut self, principal: &str, keys: Jwks) -> Result<(), KeyError> {
        if principal.is_empty() || keys.0.is_empty() {
            return Err(KeyError::NoKeys { principal: principal.to_owned() });
        }
        match self.0.get(principal) {
            Some(known) if !same_keys(known, &keys) => {
                Err(KeyError::Shadowed { principal: principal.to_owned() })
            }
            Some(_) => Ok(()),
            None => {
                self.0.insert(principal.to_owned(), keys);
                Ok(())
            }
        }
    }

    /// Takes over the anchors of another map, all or none.
    ///
    /// # Errors
    /// When a principal is in both with different keys.
    pub fn merge(&mut self, other: Self) -> Result<(), KeyError> {
        let differ = |(principal, keys): &(&String, &Jwks)| {
            self.0.get(*principal).is_some_and(|k| !same_keys(k, keys))
        };
        if let Some((principal, _)) = other.0.iter().find(differ) {
            return Err(KeyError::Shadowed { principal: principal.clone() });
        }
        other.0.into_iter().try_for_each(|(principal, keys)| self.insert(&principal, keys))
    }

    /// The principals.
    pub fn principals(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl KeySource for Anchors {
    fn keys(&self, principal: &str) -> Result<Option<Jwks>, KeyError> {
        Ok(self.0.get(principal).cloned())
    }

    fn may_block(&self) -> bool {
        false
    }
}

/// Whether two sets are of the same keys for the same algorithms, in whatever order and under whatever `kid`.
pub(super) fn same_keys(one: &Jwks, other: &Jwks) -> bool {
    let set = |keys: &Jwks| -> BTreeSet<(String, Option<&'static str>)> {
        keys.0.iter().map(|key| (key.thumbprint(), key.algorithm().map(Algorithm::as_str))).collect()
    };
    one == other || set(one) == set(other)
}

/// Whether the member stands twice in the outermost object.
fn is_top_level_twice(text: &[u8], name: &str) -> bool {
    struct Count<'a>(&'a str);
    impl<'de> Visitor<'de> for Count<'_> {
        type Value = usize;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<usize, A::Error> {
            let mut count = 0;
            while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                count += usize::from(name == self.0);
            }
            Ok(count)
        }
    }
    serde_json::Deserializer::from_slice(text).deserialize_map(Count(name)).is_ok_and(|count| count > 1)
}

/// A closure as a key source.
pub struct FnKeySource<F>(F);

impl<F> FnKeySource<F>
where
    F: Fn(&str) -> Result<Option<Jwks>, KeyError> + Send + Sync,
{
    /// A source that asks `keys`.
    pub fn new(keys: F) -> Self {
        Self(keys)
    }
}

impl<F> fmt::Debug for FnKeySource<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FnKeySource")
    }
}

impl<F> KeySource for FnKeySource<F>
where
    F: Fn(&str) -> Result<Option<Jwks>, KeyError> + Send + Sync,
{
    fn keys(&self, principal: &str) -> Result<Option<Jwks>, KeyError> {
        (self.0)(principal)
    }
}

/// A provider as a key source: always its current id and keys.
#[derive(Clone, Debug)]
pub struct ProviderKeys(Arc<dyn IdentityProvider>);

impl ProviderKeys {
    /// A source that asks `provider`.
    #[must_use]
    pub fn new(provider: Arc<dyn IdentityProvider>) -> Self {
        Self(provider)
    }
}

impl KeySource for ProviderKeys {
    fn keys(&self, principal: &str) -> Result<Option<Jwks>, KeyError> {
        Anchors::from_provider(&*self.0)?.keys(principal)
    }

    fn may_block(&self) -> bool {
        self.0.ready().is_some()
    }
}
