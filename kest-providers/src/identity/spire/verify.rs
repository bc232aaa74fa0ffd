//! Documents that name other workloads, on the word of their trust domains.

use std::time::Duration;

use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::identity::{Svid, VerifiedSvid};
use kest_core::text;
use kest_core::verify::SpiffeId;
use rustls::pki_types::{CertificateDer, UnixTime};
use spiffe::{JwtSvid, JwtSvidError, JwtVerificationErrorKind};

use super::chain::{self, Purpose};
use super::{SpireProvider, bridge_error, watch};
use crate::bridge;

pub(super) async fn verify(provider: &SpireProvider, svid: Svid<'_>) -> Result<VerifiedSvid, IdentityError> {
    // Bundles are believed no longer than the agent's word on one's own identity.
    provider.initialize().await?;
    match svid {
        Svid::X509(certificates) => x509(provider, certificates),
        Svid::Jwt { token, audience } => jwt(provider, token, audience).await,
        _ => Err(untrusted("this kind of SVID is not known here")),
    }
}

fn x509(provider: &SpireProvider, certificates: &[Vec<u8>]) -> Result<VerifiedSvid, IdentityError> {
    let certificates: Vec<CertificateDer<'_>> =
        certificates.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let Some((leaf, intermediates)) = certificates.split_first() else {
        return Err(untrusted("the X.509-SVID has no certificate"));
    };
    let now = UnixTime::since_unix_epoch(Duration::from_millis(provider.0.state.now_ms()));
    let bundles = provider.bundles()?;
    // The certificate only: who sent it is not known here.
    let named = chain::validate(leaf, intermediates, &bundles, now, Purpose::Any)?;
    Ok(VerifiedSvid::new(named.id, named.expires_at_ms))
}

/// SPIFFE JWT-SVID §4.
async fn jwt(provider: &SpireProvider, token: &str, audience: &str) -> Result<VerifiedSvid, IdentityError> {
    const LONGEST_TOKEN: usize = 64 * 1024;
    if token.len() > LONGEST_TOKEN {
        return Err(untrusted(format!("the JWT-SVID is longer than {LONGEST_TOKEN} bytes")));
    }
    if audience.is_empty() {
        return Err(untrusted("the audience is empty; name the one that a JWT-SVID must be meant for"));
    }
    let bundles = provider.jwt_bundles().await?;
    let svid = JwtSvid::parse_and_validate(token, &*bundles, &[audience])
        .map_err(|error| refused(&error, audience))?;
    // Read strictly: two spellings are never one id.
    let id = SpiffeId::parse(svid.claims().sub()).map_err(|error| untrusted(error.to_string()))?;
    if id.path().is_empty() {
        return Err(untrusted("the JWT-SVID's SPIFFE ID has no path, so that it is no workload's"));
    }
    let expires = u64::try_from(svid.claims().exp()).unwrap_or(0);
    Ok(VerifiedSvid::new(id.as_str(), expires.saturating_mul(1_000)))
}

impl SpireProvider {
    async fn jwt_bundles(&self) -> Result<std::sync::Arc<spiffe::JwtBundleSet>, IdentityError> {
        self.run(|tasks| &mut tasks.jwt, |state| Box::pin(watch::follow::<watch::Jwt>(state)))?;
        if let Some(bundles) = self.0.state.jwt_bundles() {
            return Ok(bundles);
        }
        let state = std::sync::Arc::clone(&self.0.state);
        bridge::run(async move {
            state.jwt.settle(state.settings.initial_timeout).await;
            state.refuse_closed()?;
            state.jwt_bundles().ok_or_else(|| state.no_jwt_bundles())
        })
        .await
        .map_err(bridge_error)?
    }
}

/// The token itself stands in none of these.
fn refused(error: &JwtSvidError, audience: &str) -> IdentityError {
    match error {
        JwtSvidError::BundleNotFound(domain) => IdentityError::new(
            IdentityErrorKind::TrustDomain,
            format!(
                "the agent has no JWT bundle of `{domain}`; federate the trust domain with this workload's entry"
            ),
        ),
        JwtSvidError::InvalidToken(cause) => match cause.kind() {
            JwtVerificationErrorKind::Expired => {
                IdentityError::new(IdentityErrorKind::SvidExpired, "the JWT-SVID has expired")
            }
            JwtVerificationErrorKind::NotYetValid => untrusted("the JWT-SVID is not valid yet"),
            JwtVerificationErrorKind::AudienceMismatch => untrusted(format!(
                "the JWT-SVID is not meant for the audience {}",
                text::field(audience, 200)
            )),
            JwtVerificationErrorKind::InvalidSignature => {
                untrusted("the JWT-SVID's signature is not its trust domain's")
            }
            _ => untrusted("the JWT-SVID cannot be verified"),
        },
        other => untrusted(format!("the JWT-SVID is refused: {}", text::message(&other.to_string()))),
    }
}

fn untrusted(message: impl Into<String>) -> IdentityError {
    IdentityError::new(IdentityErrorKind::Untrusted, message)
}
