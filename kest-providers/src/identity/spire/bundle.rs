//! Whose certificates are believed: the agent's trust bundles. SPIFFE Trust Domain and Bundle §4.

use std::collections::BTreeMap;
use std::sync::Arc;

use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::text;
use kest_core::verify::{Authorities, BundleError, SpiffeId};
use rustls::pki_types::{CertificateDer, TrustAnchor};
use spiffe::{X509Bundle, X509BundleSet};

/// The bundles of one's own and of the federated trust domains, as the agent last sent them.
pub(super) struct Bundles(BTreeMap<String, Bundle>);

/// One trust domain's.
pub(super) struct Bundle {
    pub(super) authorities: Arc<Authorities>,
    pub(super) anchors: Vec<TrustAnchor<'static>>,
}

impl Bundles {
    pub(super) fn new(set: &X509BundleSet) -> Self {
        let mut bundles = BTreeMap::new();
        for (domain, bundle) in set.iter() {
            match Bundle::new(domain.as_str(), bundle) {
                Ok(bundle) => {
                    bundles.insert(domain.as_str().to_owned(), bundle);
                }
                // A federated domain must not take one's own identity away.
                Err(error) => unusable(domain.as_str(), &error),
            }
        }
        Self(bundles)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Bundle> {
        self.0.values()
    }

    pub(super) fn get(&self, trust_domain: &str) -> Option<&Bundle> {
        self.0.get(trust_domain)
    }

    /// The bundle of `domain`, which may be written as `spiffe://domain` too.
    pub(super) fn named(&self, domain: &str) -> Result<&Bundle, IdentityError> {
        let name = trust_domain(domain)?;
        self.get(name).ok_or_else(|| {
            let known: Vec<String> = self.0.keys().map(|name| format!("`{name}`")).collect();
            let message = format!(
                "the agent has no trust bundle of `{name}`, only of {}; federate the trust domain and add \
                 `-federatesWith {name}` to this workload's entry",
                known.join(", ")
            );
            IdentityError::new(IdentityErrorKind::TrustDomain, message)
        })
    }
}

impl Bundle {
    fn new(domain: &str, bundle: &X509Bundle) -> Result<Self, BundleError> {
        let mut certificates = Vec::new();
        let mut anchors = Vec::new();
        for authority in bundle.authorities() {
            let der = authority.as_bytes();
            let usable =
                Authorities::from_der(domain, [der]).map_err(|error| error.to_string()).and_then(|_| {
                    let anchor = webpki::anchor_from_trusted_cert(&CertificateDer::from(der))
                        .map(|anchor| anchor.to_owned());
                    anchor.map_err(|error| error.to_string())
                });
            match usable {
                Ok(anchor) => {
                    anchors.push(anchor);
                    certificates.push(der);
                }
                Err(error) => unusable(domain, &error),
            }
        }
        Ok(Self { authorities: Arc::new(Authorities::from_der(domain, certificates)?), anchors })
    }
}

/// A trust domain's name, also out of its SPIFFE ID.
pub(super) fn trust_domain(text: &str) -> Result<&str, IdentityError> {
    let name = text.strip_prefix("spiffe://").unwrap_or(text);
    let id = format!("spiffe://{name}");
    match SpiffeId::parse(&id) {
        Ok(id) if id.path().is_empty() => Ok(name),
        Ok(_) | Err(_) => {
            let message =
                format!("{} is no trust domain; write it as in `example.org`", text::field(text, 255));
            Err(IdentityError::new(IdentityErrorKind::TrustDomain, message))
        }
    }
}

fn unusable(trust_domain: &str, error: &dyn std::fmt::Display) {
    tracing::warn!(
        target: "kest",
        trust_domain,
        %error,
        "an authority of a trust bundle cannot be used, and is not believed"
    );
}
