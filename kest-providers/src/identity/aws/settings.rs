//! What a KMS identity is told, and the AWS configuration that comes of it.

use std::fmt;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_kms::config::{ProvideCredentials, SharedCredentialsProvider};
use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::text::Quoted;

use crate::aws::{Access, Attempts, Service};
use crate::masked::masked;

/// What both builders are told.
pub(in crate::identity) struct Settings {
    /// The variable that names the key when the code does not.
    pub(super) variable: &'static str,
    default_key: Option<&'static str>,
    /// Not empty once checked.
    pub(super) kms_key_id: Option<String>,
    pub(super) access: Access,
    /// PSS instead of PKCS #1 for an RSA key.
    pub(super) rsa_pss: bool,
}

impl Settings {
    pub(in crate::identity) fn new(variable: &'static str, default_key: Option<&'static str>) -> Self {
        Self { variable, default_key, kms_key_id: None, access: access(), rsa_pss: false }
    }

    pub(in crate::identity) fn set_kms_key_id(&mut self, kms_key_id: String) {
        self.kms_key_id = Some(kms_key_id);
    }

    pub(in crate::identity) fn set_region(&mut self, region: String) {
        self.access.region = Some(region);
    }

    pub(in crate::identity) fn set_endpoint_url(&mut self, url: String) {
        self.access.endpoint_url = Some(url);
    }

    pub(in crate::identity) fn set_timeout(&mut self, timeout: Duration) {
        self.access.timeout = timeout;
    }

    pub(in crate::identity) fn set_credentials(&mut self, provider: impl ProvideCredentials + 'static) {
        self.access.credentials = Some(SharedCredentialsProvider::new(provider));
    }

    pub(in crate::identity) fn set_rsa_pss(&mut self) {
        self.rsa_pss = true;
    }

    /// The settings with the key that the environment names, once nothing in them is known to be unusable.
    pub(in crate::identity) fn checked(mut self) -> Result<Self, IdentityError> {
        if self.kms_key_id.is_none() {
            self.kms_key_id = match variable(self.variable)? {
                Some(key) => Some(key),
                None => self.default_key.map(str::to_owned),
            };
        }
        let Some(key) = &self.kms_key_id else {
            let variable = self.variable;
            return Err(IdentityError::new(
                IdentityErrorKind::Missing,
                format!("no KMS key is named; set `{variable}` to a key id, a key ARN or `alias/<name>`"),
            ));
        };
        check_key_id(key)?;
        self.access.check()?;
        Ok(self)
    }

    pub(super) fn key(&self) -> &str {
        self.kms_key_id.as_deref().unwrap_or_default()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("kms_key_id", &self.kms_key_id)
            .field("region", &self.access.region)
            .field("endpoint_url", &self.access.endpoint_url.as_deref().map(masked))
            .finish_non_exhaustive()
    }
}

/// A variable that must say something where it is set.
pub(in crate::identity) fn variable(name: &str) -> Result<Option<String>, IdentityError> {
    crate::aws::variable(name).map_err(IdentityError::from)
}

/// No settings yet.
pub(super) fn access() -> Access {
    Access::new(Duration::from_secs(5))
}

/// What the SDK makes of the settings. STS too: it may give the credentials for KMS.
pub(super) async fn load(access: &Access) -> Result<SdkConfig, IdentityError> {
    Ok(access.load(Attempts::Three, &[Service::Kms, Service::Sts]).await?)
}

fn missing(message: String) -> IdentityError {
    IdentityError::new(IdentityErrorKind::Missing, message)
}

pub(super) fn check_key_id(key: &str) -> Result<(), IdentityError> {
    // KMS API Reference, KeyId: 1 to 2,048 characters.
    if key.is_empty() || key.len() > 2_048 || !key.chars().all(|c| c.is_ascii_graphic()) {
        let key = Quoted(key);
        return Err(missing(format!("{key} is no KMS key; use a key id, a key ARN or `alias/<name>`")));
    }
    Ok(())
}

/// The region in the ARN of a key or an alias. Such a key can be had there only.
pub(super) fn region_of(key: &str) -> Option<&str> {
    let mut parts = key.split(':');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("arn"), Some(_), Some("kms"), Some(region)) if !region.is_empty() => Some(region),
        _ => None,
    }
}

/// The setters that builders with a field `settings` have in common.
macro_rules! setters {
    () => {
        /// The key that signs: a key id, a key ARN, `alias/<name>` or an alias ARN. With an ARN, KMS is asked in the
        /// ARN's region.
        pub fn kms_key_id(mut self, kms_key_id: impl Into<String>) -> Self {
            self.settings.set_kms_key_id(kms_key_id.into());
            self
        }

        /// The region, rather than `AWS_REGION`, the profile's or the instance's.
        pub fn region(mut self, region: impl Into<String>) -> Self {
            self.settings.set_region(region.into());
            self
        }

        /// Where STS and KMS are, rather than at AWS: a VPC endpoint, an emulator. The SDK's own `AWS_ENDPOINT_URL`,
        /// `AWS_ENDPOINT_URL_KMS` and `AWS_ENDPOINT_URL_STS` work as well. `https`, or `http` to this machine.
        pub fn endpoint_url(mut self, url: impl Into<String>) -> Self {
            self.settings.set_endpoint_url(url.into());
            self
        }

        /// How long one use may take, all attempts included: 5 seconds unless set. One attempt gets half of it.
        pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
            self.settings.set_timeout(timeout);
            self
        }

        /// Credentials, rather than those of the SDK's default chain: an assumed role, a profile.
        pub fn credentials_provider(
            mut self,
            provider: impl aws_sdk_kms::config::ProvideCredentials + 'static,
        ) -> Self {
            self.settings.set_credentials(provider);
            self
        }

        /// Sign PS256 rather than RS256, for an RSA key. RFC 7518 §3.5.
        pub fn rsa_pss(mut self) -> Self {
            self.settings.set_rsa_pss();
            self
        }
    };
}
pub(in crate::identity) use setters;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_arn_names_its_region() {
        assert_eq!(region_of("arn:aws:kms:eu-west-1:123456789012:key/abc"), Some("eu-west-1"));
        assert_eq!(region_of("arn:aws-us-gov:kms:us-gov-west-1:123456789012:alias/a"), Some("us-gov-west-1"));
        for other in ["alias/a", "1234abcd", "arn:aws:sts::123456789012:x", "arn:aws:kms::1:key/a", ""] {
            assert_eq!(region_of(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for key in ["", "a b", "a\n", &"a".repeat(2_049)] {
            assert!(check_key_id(key).is_err(), "{key:?}");
        }
        check_key_id("alias/a").unwrap();
    }
}
