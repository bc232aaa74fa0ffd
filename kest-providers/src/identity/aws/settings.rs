//! What a KMS identity is told, and the AWS configuration that comes of it.

use std::env;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_sdk_kms::config::{ProvideCredentials, SharedCredentialsProvider};
use aws_types::service_config::ServiceConfigKey;
use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::text::Quoted;

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

/// How KMS and STS are reached.
pub(super) struct Access {
    pub(super) region: Option<String>,
    pub(super) endpoint_url: Option<String>,
    pub(super) timeout: Duration,
    pub(super) credentials: Option<SharedCredentialsProvider>,
}

impl Settings {
    pub(in crate::identity) fn new(variable: &'static str, default_key: Option<&'static str>) -> Self {
        Self { variable, default_key, kms_key_id: None, access: Access::default(), rsa_pss: false }
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
            .field("endpoint_url", &self.access.endpoint_url)
            .finish_non_exhaustive()
    }
}

/// A variable that must say something where it is set.
pub(in crate::identity) fn variable(name: &str) -> Result<Option<String>, IdentityError> {
    let Some(value) = env::var_os(name) else { return Ok(None) };
    match value.into_string() {
        Ok(text) if !text.trim().is_empty() => Ok(Some(text)),
        Ok(_) => Err(missing(format!("`{name}` is set but empty; give it a value or unset it"))),
        Err(_) => Err(missing(format!("`{name}` is not UTF-8; give it another value or unset it"))),
    }
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

impl Default for Access {
    fn default() -> Self {
        Self { region: None, endpoint_url: None, timeout: Duration::from_secs(5), credentials: None }
    }
}

impl Access {
    pub(super) fn check(&self) -> Result<(), IdentityError> {
        if self.timeout.is_zero() {
            return Err(missing("a timeout of zero leaves no time for an answer; use 5 seconds".to_owned()));
        }
        if let Some(region) = &self.region {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if region.is_empty() || !region.chars().all(fits) {
                let region = Quoted(region);
                return Err(missing(format!("{region} is no AWS region; use one such as `eu-west-1`")));
            }
        }
        self.endpoint_url.as_deref().map_or(Ok(()), |url| check_endpoint("`.endpoint_url(…)`", url))
    }

    /// What the SDK makes of these settings, the environment, the profile and the instance.
    ///
    /// # Errors
    /// When one of the endpoints must not be asked.
    pub(super) async fn load(&self) -> Result<SdkConfig, IdentityError> {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(3)
                    .with_initial_backoff(Duration::from_millis(100))
                    .with_max_backoff(Duration::from_millis(500)),
            )
            // A connection that died unnoticed must leave time for another attempt.
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(self.timeout / 2)
                    .operation_attempt_timeout(self.timeout / 2)
                    .build(),
            );
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(url) = &self.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        if let Some(credentials) = &self.credentials {
            loader = loader.credentials_provider(credentials.clone());
        }
        let sdk = loader.load().await;
        // Both: STS may give the credentials for KMS.
        for service in [Service::Kms, Service::Sts] {
            if let Some((setting, url)) = endpoint(&sdk, service) {
                check_endpoint(&setting, &url)?;
            }
        }
        Ok(sdk)
    }
}

/// A service that is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Service {
    Kms,
    Sts,
}

impl Service {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kms => "KMS",
            Self::Sts => "STS",
        }
    }

    fn variable(self) -> &'static str {
        match self {
            Self::Kms => "AWS_ENDPOINT_URL_KMS",
            Self::Sts => "AWS_ENDPOINT_URL_STS",
        }
    }
}

/// The endpoint that is configured for a service, as its client takes it, and the setting that says so.
pub(super) fn endpoint(sdk: &SdkConfig, service: Service) -> Option<(String, String)> {
    let set_by = |variable: &str| match env::var_os(variable) {
        Some(_) => format!("`{variable}`"),
        None => "`endpoint_url` of the AWS profile".to_owned(),
    };
    let in_code = sdk.get_origin("endpoint_url").is_client_config();
    if !in_code {
        let key = ServiceConfigKey::builder().service_id(service.name()).env("AWS_ENDPOINT_URL");
        let key = key.profile("endpoint_url").build().ok();
        let own = sdk.service_config().zip(key).and_then(|(config, key)| config.load_config(key));
        if let Some(url) = own {
            let variable = service.variable();
            let general = env::var_os(variable).is_none() && sdk.endpoint_url() == Some(&url);
            return Some((set_by(if general { "AWS_ENDPOINT_URL" } else { variable }), url));
        }
    }
    let setting = || if in_code { "`.endpoint_url(…)`".to_owned() } else { set_by("AWS_ENDPOINT_URL") };
    sdk.endpoint_url().map(|url| (setting(), url.to_owned()))
}

/// `https`, or `http` to this machine: who can change the answers can change keys and identity.
fn check_endpoint(setting: &str, url: &str) -> Result<(), IdentityError> {
    let (https, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, Some(rest)),
        (None, rest) => (false, rest),
    };
    let authority = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    // A user or a password in it would end up in messages.
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    match authority {
        Some(authority)
            if !authority.is_empty()
                && authority.chars().all(fits)
                && url.chars().all(|c| c.is_ascii_graphic()) =>
        {
            if https || is_loopback(authority) {
                return Ok(());
            }
            let message = format!(
                "the endpoint of {setting} is `http` to another machine ({}); use `https`",
                Quoted(authority)
            );
            Err(IdentityError::new(IdentityErrorKind::Refused, message))
        }
        Some(_) | None => Err(missing(format!(
            "the endpoint of {setting} is no URL of a host alone; use one such as \
             `https://kms.eu-west-1.amazonaws.com`"
        ))),
    }
}

fn is_loopback(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':').or(port.is_empty().then_some(""))),
        None => authority.split_once(':').map_or((authority, Some("")), |(host, port)| (host, Some(port))),
    };
    // RFC 6761 §6.3: `localhost` is this machine.
    let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    here && port.is_some_and(|port| port.chars().all(|c| c.is_ascii_digit()))
}

/// Scheme and host of an endpoint from the environment, which nothing has checked.
pub(super) fn shown_endpoint(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}")
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
    fn an_endpoint_is_shown_without_its_user() {
        assert_eq!(shown_endpoint("http://user:pass@127.0.0.1:1/x?y"), "http://127.0.0.1:1");
        assert_eq!(
            shown_endpoint("https://kms.eu-west-1.amazonaws.com"),
            "https://kms.eu-west-1.amazonaws.com"
        );
    }

    #[test]
    fn unusable_settings_are_refused() {
        for url in ["", "kms", "ftp://a", "http://", "http:///x", "http://u:p@host", "http://a b"] {
            assert!(check_endpoint("x", url).is_err(), "{url}");
        }
        let kind = |url| check_endpoint("x", url).map_err(|error| error.kind());
        for url in ["https://kms.example.org", "http://127.0.0.1:1/x", "http://[::1]:1", "http://localhost"] {
            assert_eq!(kind(url), Ok(()), "{url}");
        }
        for url in [
            "http://kms.example.org",
            "http://127.0.0.1.example.org",
            "http://localhost.example.org:80",
            "http://10.0.0.1",
            "http://[::1]x",
            "http://[::1",
            "http://localhost:80:80",
        ] {
            assert_eq!(kind(url), Err(IdentityErrorKind::Refused), "{url}");
        }
        for key in ["", "a b", "a\n", &"a".repeat(2_049)] {
            assert!(check_key_id(key).is_err(), "{key:?}");
        }
        for region in ["", "EU", "eu west", "eu/1"] {
            let access = Access { region: Some(region.to_owned()), ..Access::default() };
            assert!(access.check().is_err(), "{region}");
        }
        assert!(Access { timeout: Duration::ZERO, ..Access::default() }.check().is_err());
    }
}
