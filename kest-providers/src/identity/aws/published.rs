//! Signing keys as KMS publishes them.

use std::time::Duration;

use aws_config::{Region, SdkConfig};
use aws_sdk_kms::Client;
use aws_sdk_kms::types::KeyUsageType;
use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::keys::Jwk;
use kest_core::text::Quoted;

use super::explain::{Action, Call};
use super::plan::{Plan, PlanError};
use super::settings::region_of;

pub(super) fn client(sdk: &SdkConfig, region: &str) -> Client {
    Client::from_conf(aws_sdk_kms::config::Builder::from(sdk).region(Region::new(region.to_owned())).build())
}

/// A signing key as KMS publishes it.
pub(super) struct PublicKey<'a> {
    asked: Quoted<'a>,
    place: &'a str,
    pub(super) arn: String,
    spec: String,
    der: Vec<u8>,
}

/// Asks KMS for the public key of a signing key.
pub(super) async fn public_key<'a>(
    client: &Client,
    key: &'a str,
    place: &'a str,
    timeout: Duration,
) -> Result<PublicKey<'a>, IdentityError> {
    let call = Call { action: Action::GetPublicKey, key, place, timeout };
    let answer = client.get_public_key().key_id(key).send().await.map_err(|error| call.failed(&error))?;
    let asked = Quoted(key);
    if answer.key_usage() != Some(&KeyUsageType::SignVerify) {
        let usage = answer.key_usage().map_or("no usage", KeyUsageType::as_str);
        let message =
            format!("KMS key {asked} is for {}, not for `SIGN_VERIFY`; name another", Quoted(usage));
        return Err(IdentityError::new(IdentityErrorKind::Signing, message));
    }
    let arn = answer.key_id().filter(|arn| region_of(arn).is_some() && arn.contains(":key/"));
    let (Some(arn), Some(spec), Some(der)) = (arn, answer.key_spec(), answer.public_key()) else {
        return Err(strange(place, asked, "no key ARN, key spec or public key"));
    };
    Ok(PublicKey {
        asked,
        place,
        arn: arn.to_owned(),
        spec: spec.as_str().to_owned(),
        der: der.as_ref().to_vec(),
    })
}

fn strange(place: &str, asked: Quoted<'_>, what: &str) -> IdentityError {
    let message =
        format!("{place} published {what} for key {asked}; check the endpoint that is configured for it");
    IdentityError::new(IdentityErrorKind::Untrusted, message)
}

impl PublicKey<'_> {
    /// How the key signs.
    pub(super) fn plan(&self, rsa_pss: bool) -> Result<Plan, IdentityError> {
        Plan::for_spec(&self.spec, rsa_pss).map_err(|error| {
            let (key, spec) = (self.asked, Quoted(&self.spec));
            let message = match error {
                PlanError::Spec => format!(
                    "KMS key {key} has the spec {spec}, which no algorithm of Kest fits; use `ECC_NIST_P256`, \
                     `ECC_NIST_P384`, `ECC_NIST_EDWARDS25519` or `RSA_2048`"
                ),
                PlanError::NoRsa => format!(
                    "PS256 was asked for, and KMS key {key} has the spec {spec}; leave out `rsa_pss()`, or name an \
                     RSA key"
                ),
            };
            IdentityError::new(IdentityErrorKind::Signing, message)
        })
    }

    /// The key for verifying. An RSA key may have signed with either padding.
    pub(super) fn jwk(&self) -> Result<Jwk, IdentityError> {
        self.plan(false)?;
        Jwk::from_spki(&self.der).map_err(|error| {
            strange(self.place, self.asked, "a public key that cannot be used").with_source(error)
        })
    }

    /// The key, for the algorithm it is used with and no other. RFC 8725 §3.1.
    pub(super) fn for_plan(&self, plan: Plan) -> Result<Jwk, IdentityError> {
        let algorithm = plan.algorithm();
        let mut json = self.jwk()?.to_json();
        if let Some(members) = json.as_object_mut() {
            members.insert("alg".to_owned(), algorithm.as_str().into());
        }
        Jwk::from_json(&json).map_err(|error| {
            let spec = Quoted(&self.spec);
            strange(self.place, self.asked, &format!("the spec {spec} and a key of another"))
                .with_source(error)
        })
    }
}
