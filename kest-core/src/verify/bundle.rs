//! SPIFFE trust bundles: whose certificates speak for the workloads of a trust domain. SPIFFE Trust Domain and
//! Bundle §4, spec §13.

mod error;
mod pem;
mod read;
mod slot;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64_simd::STANDARD;
use serde_json::{Map, Value, json};

pub use self::error::BundleError;
use self::slot::Slot;
use super::certificate::Root;
use super::keysource::KeySource;
use super::spiffe_id::{SpiffeId, trust_domain as check_trust_domain};
use crate::jws::sha256;
use crate::keys::{Jwks, KeyError};

/// The X.509 authorities of one trust domain. A certificate speaks for a workload only if one of the authorities of
/// the workload's own trust domain stands behind it.
#[derive(Clone)]
pub struct Authorities {
    trust_domain: Box<str>,
    pub(super) roots: Vec<Root>,
    /// Of the trust domain and the certificates, in their order.
    pub(super) digest: [u8; 32],
}

/// More authorities than any trust domain needs to rotate; bounds what a chain of no known issuer costs.
const AUTHORITIES: usize = 64;
/// Size of one bundle, and of a map of them.
const BUNDLE_BYTES: usize = 1 << 20;
const MAP_BYTES: usize = 16 << 20;

impl Authorities {
    /// The authorities of a trust domain (`example.org`), each a certificate in DER. None at all means that the
    /// domain has revoked what it had: its workloads are known, and nothing speaks for them.
    ///
    /// # Errors
    /// When the name is no trust domain, there are more than 64 certificates, or one of them cannot be read, is not
    /// that of an authority, or has a key that Kest does not use. Their validity is looked at with each chain.
    pub fn from_der<C: AsRef<[u8]>>(
        trust_domain: &str,
        certificates: impl IntoIterator<Item = C>,
    ) -> Result<Self, BundleError> {
        let name = check_trust_domain(trust_domain).map_err(BundleError::TrustDomain)?;
        let mut roots: Vec<Root> = Vec::new();
        for certificate in certificates {
            let der = certificate.as_ref();
            if roots.iter().any(|known| known.der() == der) {
                continue;
            }
            if roots.len() == AUTHORITIES {
                return Err(BundleError::TooMany { limit: AUTHORITIES });
            }
            roots.push(Root::read(der)?);
        }
        let digest = digest(name, roots.iter().map(Root::der));
        Ok(Self { trust_domain: name.into(), roots, digest })
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The certificates in DER.
    pub fn certificates(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.roots.iter().map(Root::der)
    }

    /// The bundle as a JWK set: `{"keys":[…]}` with `"use":"x509-svid"`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let keys = self.roots.iter().map(|root| {
            let mut key = Map::new();
            if let Value::Object(members) = root.key().to_json() {
                // RFC 7517 §4: only what says which key it is. `alg` and `kid` are for signatures of workloads.
                let material = |name: &str| matches!(name, "kty" | "crv" | "x" | "y" | "n" | "e");
                key.extend(members.into_iter().filter(|(name, _)| material(name)));
            }
            key.insert("use".to_owned(), Value::from("x509-svid"));
            key.insert("x5c".to_owned(), json!([STANDARD.encode_to_string(root.der())]));
            Value::Object(key)
        });
        json!({"keys": keys.collect::<Vec<_>>()})
    }
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        // In whatever order: INVARIANT: none is there twice.
        self.trust_domain == other.trust_domain
            && self.roots.len() == other.roots.len()
            && self.certificates().all(|one| other.certificates().any(|another| one == another))
    }
}

impl Eq for Authorities {}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorities")
            .field("trust_domain", &self.trust_domain)
            .field("certificates", &self.roots.len())
            .finish()
    }
}

/// Trust bundles by trust domain: a key source for workloads that sign with X.509-SVIDs. Each bundle speaks for the
/// workloads of its own trust domain alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustBundles(BTreeMap<Box<str>, Slot>);

impl TrustBundles {
    /// No bundles: nobody is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a map of bundles, `{"trust_domains":{"example.org":{"keys":[…]}}}`, as gRPC's proposal A87 has it.
    ///
    /// # Errors
    /// When the text is something else, a trust domain stands in it twice, or a bundle cannot be used. Nothing is
    /// skipped: where the map is well-formed and authorities of one domain cannot be used, that domain is
    /// [unusable](Self::unusable), and an error for its workloads alone.
    pub fn from_json(text: &[u8]) -> Result<Self, BundleError> {
        let mut bundles = Self::new();
        for (name, bundle) in &read::map(text, MAP_BYTES)? {
            let authorities = read::certificates(bundle).and_then(|all| Authorities::from_der(name, all));
            let slot = match authorities {
                Ok(authorities) => Slot::Usable(Arc::new(authorities)),
                Err(source) if source.is_of_one_domain() => {
                    Slot::Unusable { bundle: Arc::new(bundle.clone()), source: Arc::new(source) }
                }
                Err(source) => return Err(of(name, source)),
            };
            bundles.put(name, slot)?;
        }
        Ok(bundles)
    }

    /// Adds the bundle of a trust domain from its SPIFFE form, a JWK set as its bundle endpoint serves it. Keys for
    /// JWT-SVIDs, for unknown uses and for no use at all are left out, as SPIFFE Trust Domain and Bundle §4.2 says.
    ///
    /// # Errors
    /// When the text is something else, an `x509-svid` key has not exactly one certificate or one that cannot be
    /// used, or the trust domain is there already with other authorities.
    pub fn insert_spiffe_json(&mut self, trust_domain: &str, text: &[u8]) -> Result<(), BundleError> {
        let bundle = read::json(text, BUNDLE_BYTES).map_err(|source| of(trust_domain, source))?;
        self.insert_value(trust_domain, &bundle).map_err(|source| of(trust_domain, source))
    }

    /// Adds the bundle of a trust domain from certificates in PEM.
    ///
    /// # Errors
    /// When there is no certificate, one cannot be used, there is something else in PEM, or the trust domain is there
    /// already with other authorities.
    pub fn insert_pem(&mut self, trust_domain: &str, text: &str) -> Result<(), BundleError> {
        if text.len() > BUNDLE_BYTES {
            return Err(of(trust_domain, BundleError::TooLarge { limit: BUNDLE_BYTES }));
        }
        let certificates = pem::certificates(text).map_err(|source| of(trust_domain, source))?;
        let authorities = Authorities::from_der(trust_domain, certificates);
        self.insert(authorities.map_err(|source| of(trust_domain, source))?)
    }

    /// Adds the authorities of a trust domain.
    ///
    /// # Errors
    /// When the trust domain is there already with other authorities.
    pub fn insert(&mut self, authorities: Authorities) -> Result<(), BundleError> {
        let authorities = Arc::new(authorities);
        self.put(authorities.trust_domain(), Slot::Usable(Arc::clone(&authorities)))
    }

    /// Takes over the bundles of another map, all or none.
    ///
    /// # Errors
    /// When a trust domain is in both with different authorities.
    pub fn merge(&mut self, other: Self) -> Result<(), BundleError> {
        let mut known = other.0.iter().filter_map(|(name, more)| Some((name, self.0.get(name)?, more)));
        if let Some((name, ..)) = known.find(|(_, known, more)| known != more) {
            return Err(BundleError::Repeated { trust_domain: name.to_string() });
        }
        self.0.extend(other.0);
        Ok(())
    }

    /// The authorities of a trust domain. None if it is not there, or is [unusable](Self::unusable).
    #[must_use]
    pub fn get(&self, trust_domain: &str) -> Option<&Arc<Authorities>> {
        match self.0.get(trust_domain)? {
            Slot::Usable(authorities) => Some(authorities),
            Slot::Unusable { .. } => None,
        }
    }

    /// The trust domains of a map whose authorities cannot be used, and why. As a key source the map fails for their
    /// workloads, and for nobody else's.
    pub fn unusable(&self) -> impl Iterator<Item = (&str, &BundleError)> {
        self.0.iter().filter_map(|(name, slot)| match slot {
            Slot::Usable(_) => None,
            Slot::Unusable { source, .. } => Some((&**name, &**source)),
        })
    }

    /// The trust domains, sorted.
    pub fn trust_domains(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.keys().map(|name| &**name)
    }

    /// The bundles as [`Self::from_json`] reads them. Those that cannot be used are as they came.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let bundles: Map<String, Value> =
            self.0.iter().map(|(name, bundle)| (name.to_string(), bundle.to_json())).collect();
        json!({"trust_domains": bundles})
    }

    fn insert_value(&mut self, trust_domain: &str, bundle: &Value) -> Result<(), BundleError> {
        self.insert(Authorities::from_der(trust_domain, read::certificates(bundle)?)?)
    }

    fn put(&mut self, trust_domain: &str, slot: Slot) -> Result<(), BundleError> {
        match self.0.get(trust_domain) {
            Some(known) if *known != slot => {
                Err(BundleError::Repeated { trust_domain: trust_domain.to_owned() })
            }
            Some(_) => Ok(()),
            None => {
                self.0.insert(trust_domain.into(), slot);
                Ok(())
            }
        }
    }
}

impl KeySource for TrustBundles {
    fn may_block(&self) -> bool {
        false
    }

    /// None: a bundle has no keys of workloads.
    fn keys(&self, _principal: &str) -> Result<Option<Jwks>, KeyError> {
        Ok(None)
    }

    fn authorities(&self, principal: &str) -> Result<Option<Arc<Authorities>>, KeyError> {
        // What is no SPIFFE ID is of no trust domain.
        let Ok(id) = SpiffeId::parse(principal) else { return Ok(None) };
        match self.0.get(id.trust_domain()) {
            None => Ok(None),
            Some(Slot::Usable(authorities)) => Ok(Some(Arc::clone(authorities))),
            Some(Slot::Unusable { source, .. }) => {
                let trust_domain = id.trust_domain().to_owned();
                Err(KeyError::Source(Box::new(BundleError::Of { trust_domain, source: Arc::clone(source) })))
            }
        }
    }
}

fn digest<'a>(trust_domain: &'a str, certificates: impl Iterator<Item = &'a [u8]>) -> [u8; 32] {
    // With their lengths, so that no other cut of the same bytes is the same bundle.
    let parts = std::iter::once(trust_domain.as_bytes()).chain(certificates);
    let parts = parts.flat_map(|part| [part.len().to_be_bytes().to_vec(), part.to_vec()]);
    sha256(&parts.collect::<Vec<_>>().concat())
}

fn of(trust_domain: &str, source: BundleError) -> BundleError {
    match source {
        // Those name it themselves.
        BundleError::Repeated { .. } | BundleError::TrustDomain(_) => source,
        other => BundleError::Of { trust_domain: trust_domain.to_owned(), source: Arc::new(other) },
    }
}
