//! Which peers a TLS configuration speaks with.

use std::collections::BTreeSet;

use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::text;
use kest_core::verify::SpiffeId;

use super::bundle::trust_domain;

/// Which SPIFFE IDs a peer may have. A peer's certificate is validated in any case; a federated trust domain counts
/// only where it, or an id of it, is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAuthorizer {
    own_trust_domain: bool,
    ids: BTreeSet<String>,
    trust_domains: BTreeSet<String>,
}

impl PeerAuthorizer {
    /// Every workload of one's own trust domain. The default.
    #[must_use]
    pub fn own_trust_domain() -> Self {
        Self { own_trust_domain: true, ids: BTreeSet::new(), trust_domains: BTreeSet::new() }
    }

    /// Exactly these SPIFFE IDs.
    ///
    /// # Errors
    /// When there are none, or one is no SPIFFE ID of a workload.
    pub fn ids<I: AsRef<str>>(ids: impl IntoIterator<Item = I>) -> Result<Self, IdentityError> {
        let ids: BTreeSet<String> = ids
            .into_iter()
            .map(|id| match SpiffeId::parse(id.as_ref()) {
                Ok(parsed) if !parsed.path().is_empty() => Ok(parsed.to_string()),
                Ok(parsed) => Err(no_peer(format!(
                    "{} has no path, so that it is no workload",
                    text::id(parsed.as_str(), 200)
                ))),
                Err(error) => Err(no_peer(error)),
            })
            .collect::<Result<_, _>>()?;
        if ids.is_empty() {
            return Err(nobody("SPIFFE ID"));
        }
        Ok(Self { own_trust_domain: false, ids, trust_domains: BTreeSet::new() })
    }

    /// Every workload of these trust domains, federated ones among them. One's own counts only if it is named.
    ///
    /// # Errors
    /// When there are none, or one is no trust domain.
    pub fn trust_domains<D: AsRef<str>>(domains: impl IntoIterator<Item = D>) -> Result<Self, IdentityError> {
        let trust_domains: BTreeSet<String> = domains
            .into_iter()
            .map(|domain| trust_domain(domain.as_ref()).map(str::to_owned))
            .collect::<Result<_, _>>()?;
        if trust_domains.is_empty() {
            return Err(nobody("trust domain"));
        }
        Ok(Self { own_trust_domain: false, ids: BTreeSet::new(), trust_domains })
    }

    /// Whom either of both allows.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        self.own_trust_domain |= other.own_trust_domain;
        self.ids.extend(other.ids);
        self.trust_domains.extend(other.trust_domains);
        self
    }

    /// Whether a peer whose certificate proves `id` may be spoken with.
    pub(super) fn allows(&self, id: &str, own_trust_domain: &str) -> bool {
        let Ok(peer) = SpiffeId::parse(id) else { return false };
        let domain = peer.trust_domain();
        (self.own_trust_domain && domain == own_trust_domain)
            || self.trust_domains.contains(domain)
            || self.ids.contains(id)
    }
}

impl Default for PeerAuthorizer {
    fn default() -> Self {
        Self::own_trust_domain()
    }
}

fn no_peer(why: impl std::fmt::Display) -> IdentityError {
    IdentityError::new(
        IdentityErrorKind::TrustDomain,
        format!("a peer of a TLS configuration cannot be meant: {why}"),
    )
}

fn nobody(what: &str) -> IdentityError {
    let message = format!("the list of peers is empty, so that nobody could connect; name a {what}");
    IdentityError::new(IdentityErrorKind::TrustDomain, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_named_is_allowed() {
        let own = "spiffe://own.test/a";
        let other = "spiffe://own.test/b";
        let federated = "spiffe://peer.test/a";
        // Neither a prefix nor a sub-domain is the same.
        let look_alikes = ["spiffe://own.test/a/b", "spiffe://own.test.evil/a", "spiffe://x.own.test/a"];
        let cases = [
            (PeerAuthorizer::default(), vec![own, other], vec![federated, look_alikes[1], look_alikes[2]]),
            (
                PeerAuthorizer::ids(["spiffe://own.test/a"]).unwrap(),
                vec![own],
                vec![other, federated, look_alikes[0]],
            ),
            (PeerAuthorizer::ids(["spiffe://peer.test/a"]).unwrap(), vec![federated], vec![own]),
            (PeerAuthorizer::trust_domains(["peer.test"]).unwrap(), vec![&federated], vec![own, other]),
            (
                PeerAuthorizer::own_trust_domain().or(PeerAuthorizer::ids(["spiffe://peer.test/a"]).unwrap()),
                vec![own, other, federated],
                vec![look_alikes[1], "nonsense"],
            ),
        ];
        for (peers, allowed, refused) in cases {
            for peer in allowed {
                assert!(peers.allows(peer, "own.test"), "{peers:?} refuses {peer}");
            }
            for peer in refused {
                assert!(!peers.allows(peer, "own.test"), "{peers:?} allows {peer}");
            }
        }
    }

    #[test]
    fn what_names_nobody_is_refused() {
        PeerAuthorizer::ids::<&str>([]).unwrap_err();
        PeerAuthorizer::trust_domains::<&str>([]).unwrap_err();
        for bad in [
            "",
            "spiffe://own.test",
            "https://own.test/a",
            "spiffe://OWN.test/a",
            "spiffe://own.test/a/",
            "own.test/a",
        ] {
            PeerAuthorizer::ids([bad]).unwrap_err();
        }
        for bad in ["", "Own.test", "own test", "own.test/"] {
            PeerAuthorizer::trust_domains([bad]).unwrap_err();
        }
    }
}
