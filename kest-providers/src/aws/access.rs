//! How AWS is reached, and the SDK configuration that comes of it.

use std::env;
use std::net::IpAddr;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_types::service_config::ServiceConfigKey;
use kest_core::text::Quoted;

use super::failure::{Failure, FailureKind};

/// Where AWS is, as whom it is asked, and how long that may take.
pub(crate) struct Access {
    pub(crate) region: Option<String>,
    pub(crate) endpoint_url: Option<String>,
    pub(crate) timeout: Duration,
    pub(crate) credentials: Option<SharedCredentialsProvider>,
}

/// How often something is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attempts {
    /// Once; the caller bounds the time.
    #[cfg(feature = "avp")]
    One,
    /// Up to three times, each in half the time at most.
    #[cfg(feature = "aws")]
    Three,
}

impl Access {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { region: None, endpoint_url: None, timeout, credentials: None }
    }

    /// Refuses what is known to be unusable.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.timeout.is_zero() {
            return Err(setting(
                "a timeout of zero leaves no time for an answer; give it a second".to_owned(),
            ));
        }
        if let Some(region) = &self.region {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if region.is_empty() || !region.chars().all(fits) {
                let region = Quoted(region);
                return Err(setting(format!("{region} is no AWS region; use one such as `eu-west-1`")));
            }
        }
        self.endpoint_url.as_deref().map_or(Ok(()), |url| check_endpoint("`.endpoint_url(…)`", url))
    }

    /// What the SDK makes of these settings, the environment, the profile and the instance.
    ///
    /// # Errors
    /// When the endpoint of one of the services must not be asked.
    pub(crate) async fn load(&self, attempts: Attempts, services: &[Service]) -> Result<SdkConfig, Failure> {
        let (retry, timeout) = match attempts {
            #[cfg(feature = "avp")]
            Attempts::One => (RetryConfig::disabled(), TimeoutConfig::disabled()),
            #[cfg(feature = "aws")]
            Attempts::Three => (
                RetryConfig::standard()
                    .with_max_attempts(3)
                    .with_initial_backoff(Duration::from_millis(100))
                    .with_max_backoff(Duration::from_millis(500)),
                // A connection that died unnoticed must leave time for another attempt.
                TimeoutConfig::builder()
                    .connect_timeout(self.timeout / 2)
                    .operation_attempt_timeout(self.timeout / 2)
                    .build(),
            ),
        };
        let mut loader =
            aws_config::defaults(BehaviorVersion::latest()).retry_config(retry).timeout_config(timeout);
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
        let mut plain = false;
        for service in services {
            if let Some((setting, url)) = endpoint(&sdk, *service) {
                check_endpoint(&setting, &url)?;
                plain |= url.starts_with("http://");
            }
        }
        Ok(if plain { without_proxy(sdk) } else { sdk })
    }
}

/// What is sent in the clear must not leave the machine through a proxy.
fn without_proxy(sdk: SdkConfig) -> SdkConfig {
    // The SDK has no setting for that, and clients of this version ask no proxy. What else it brings is set above.
    #[expect(deprecated, reason = "the last version without proxies")]
    let version = BehaviorVersion::v2025_01_17();
    sdk.into_builder().behavior_version(version).build()
}

/// A service that is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Service {
    #[cfg(feature = "aws")]
    Kms,
    /// Also for the credentials of the others.
    Sts,
    #[cfg(feature = "avp")]
    VerifiedPermissions,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            #[cfg(feature = "aws")]
            Self::Kms => "KMS",
            Self::Sts => "STS",
            #[cfg(feature = "avp")]
            Self::VerifiedPermissions => "Verified Permissions",
        }
    }

    /// What the SDK calls it where it looks for settings.
    fn id(self) -> &'static str {
        match self {
            #[cfg(feature = "aws")]
            Self::Kms => "KMS",
            Self::Sts => "STS",
            #[cfg(feature = "avp")]
            Self::VerifiedPermissions => "VerifiedPermissions",
        }
    }

    fn variable(self) -> &'static str {
        match self {
            #[cfg(feature = "aws")]
            Self::Kms => "AWS_ENDPOINT_URL_KMS",
            Self::Sts => "AWS_ENDPOINT_URL_STS",
            #[cfg(feature = "avp")]
            Self::VerifiedPermissions => "AWS_ENDPOINT_URL_VERIFIEDPERMISSIONS",
        }
    }
}

/// Where a service is, for messages.
pub(crate) fn place(service: Service, sdk: &SdkConfig, region: &str) -> String {
    let name = service.name();
    match endpoint(sdk, service) {
        Some((_, url)) => format!("{name} at {}", Quoted(&shown_endpoint(&url))),
        None => format!("{name} in {}", Quoted(region)),
    }
}

/// A variable that must say something where it is set.
pub(crate) fn variable(name: &str) -> Result<Option<String>, Failure> {
    let Some(value) = env::var_os(name) else { return Ok(None) };
    match value.into_string() {
        Ok(text) if !text.trim().is_empty() => Ok(Some(text)),
        Ok(_) => Err(setting(format!("`{name}` is set but empty; give it a value or unset it"))),
        Err(_) => Err(setting(format!("`{name}` is not UTF-8; give it another value or unset it"))),
    }
}

/// The endpoint that is configured for a service, as its client takes it, and the setting that says so.
fn endpoint(sdk: &SdkConfig, service: Service) -> Option<(String, String)> {
    let set_by = |variable: &str| match env::var_os(variable) {
        Some(_) => format!("`{variable}`"),
        None => "`endpoint_url` of the AWS profile".to_owned(),
    };
    let in_code = sdk.get_origin("endpoint_url").is_client_config();
    if !in_code {
        let key = ServiceConfigKey::builder().service_id(service.id()).env("AWS_ENDPOINT_URL");
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

/// `https`, or `http` to this machine: who can change the answers can change keys, identity and decisions.
fn check_endpoint(setting: &str, url: &str) -> Result<(), Failure> {
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
            Err(Failure::new(FailureKind::Plaintext, message))
        }
        Some(_) | None => Err(self::setting(format!(
            "the endpoint of {setting} is no URL of a host alone; use one such as \
             `https://kms.eu-west-1.amazonaws.com`"
        ))),
    }
}

fn setting(message: String) -> Failure {
    Failure::new(FailureKind::Setting, message)
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
fn shown_endpoint(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let refused = check_endpoint("x", url).unwrap_err();
            assert_eq!(refused.kind, FailureKind::Setting, "{url}");
        }
        let kind = |url| check_endpoint("x", url).map_err(|error| error.kind);
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
            assert_eq!(kind(url), Err(FailureKind::Plaintext), "{url}");
        }
        let access = || Access::new(Duration::from_secs(1));
        for region in ["", "EU", "eu west", "eu/1"] {
            let access = Access { region: Some(region.to_owned()), ..access() };
            assert!(access.check().is_err(), "{region}");
        }
        assert!(Access { timeout: Duration::ZERO, ..access() }.check().is_err());
        access().check().unwrap();
    }
}
