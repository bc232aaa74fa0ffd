//! How a [`SpireProvider`] is set up.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::text;
use spiffe::transport::Endpoint;

use super::SpireProvider;

/// Where a SPIRE agent listens unless it was told otherwise.
pub const DEFAULT_ENDPOINT: &str = "unix:///run/spire/sockets/agent.sock";

/// The variable that names the socket. SPIFFE Workload Endpoint §4.
pub const ENDPOINT_VARIABLE: &str = "SPIFFE_ENDPOINT_SOCKET";

const INITIAL_TIMEOUT: Duration = Duration::from_secs(5);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// Sets up a [`SpireProvider`]. See [`SpireProvider::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct SpireProviderBuilder {
    endpoint: String,
    hint: Option<String>,
    tls_min_version: TlsMinVersion,
    initial_timeout: Duration,
}

impl SpireProviderBuilder {
    pub(super) fn new() -> Self {
        Self {
            endpoint: DEFAULT_ENDPOINT.to_owned(),
            hint: None,
            tls_min_version: TlsMinVersion::default(),
            initial_timeout: INITIAL_TIMEOUT,
        }
    }

    /// Where the Workload API is: `unix:///path/to/agent.sock` or `tcp://127.0.0.1:8081`. What is sent over TCP is not
    /// encrypted, private keys included.
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = endpoint.into();
        self
    }

    /// Which SVID to take when the workload has several: the one with this hint (`-hint` of an entry). Without a hint
    /// it is the first, as the standard says.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The oldest TLS version of the configurations; 1.3 unless said otherwise.
    pub fn tls_min_version(mut self, version: TlsMinVersion) -> Self {
        self.tls_min_version = version;
        self
    }

    /// How long a call waits for the first SVID, and an attempt to reach the agent for its answer; 5 seconds unless
    /// said otherwise, a day at most.
    pub fn initial_timeout(mut self, timeout: Duration) -> Self {
        self.initial_timeout = timeout;
        self
    }

    /// The provider. It connects on first use.
    ///
    /// # Errors
    /// When the endpoint is not an address of a Workload API, the hint is empty, or the time-out is zero or longer than a
    /// day.
    pub fn build(self) -> Result<SpireProvider, IdentityError> {
        let endpoint = parse_endpoint(&self.endpoint, "the endpoint")?;
        if self.hint.as_deref().is_some_and(str::is_empty) {
            return Err(missing("the hint is empty; leave it out to take the first SVID"));
        }
        if self.initial_timeout.is_zero() {
            return Err(missing(
                "the initial time-out is zero, so that no agent could answer; give it a second or more",
            ));
        }
        if self.initial_timeout > LONGEST_TIMEOUT {
            return Err(missing("the initial time-out is longer than a day; give it some seconds"));
        }
        if matches!(endpoint, Endpoint::Tcp { host, .. } if !host.is_loopback()) {
            tracing::warn!(
                target: "kest",
                endpoint = %text::field(&self.endpoint, 200),
                "the Workload API is reached over a network: private keys cross it unencrypted; use a unix socket"
            );
        }
        Ok(SpireProvider::with_settings(Settings {
            endpoint,
            address: self.endpoint.into(),
            hint: self.hint.map(Into::into),
            tls_min_version: self.tls_min_version,
            initial_timeout: self.initial_timeout,
        }))
    }
}

/// The oldest TLS version that a configuration allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsMinVersion {
    /// TLS 1.2, for peers that know no other. RFC 5246.
    V1_2,
    /// TLS 1.3. RFC 8446.
    #[default]
    V1_3,
}

/// What a provider was set up with.
pub(super) struct Settings {
    pub(super) endpoint: Endpoint,
    /// The endpoint as it was given.
    pub(super) address: Arc<str>,
    pub(super) hint: Option<Arc<str>>,
    pub(super) tls_min_version: TlsMinVersion,
    pub(super) initial_timeout: Duration,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("endpoint", &self.address)
            .field("hint", &self.hint)
            .finish_non_exhaustive()
    }
}

/// The builder that the environment asks for.
pub(super) fn from_environment() -> Result<SpireProviderBuilder, IdentityError> {
    from_variable(env::var_os(ENDPOINT_VARIABLE))
}

fn from_variable(value: Option<OsString>) -> Result<SpireProviderBuilder, IdentityError> {
    let builder = SpireProviderBuilder::new();
    let Some(value) = value else { return Ok(builder) };
    let Ok(endpoint) = value.into_string() else {
        return Err(missing(format!(
            "`{ENDPOINT_VARIABLE}` is not UTF-8; set it to an address such as `{DEFAULT_ENDPOINT}`"
        )));
    };
    parse_endpoint(&endpoint, &format!("`{ENDPOINT_VARIABLE}`"))?;
    Ok(builder.endpoint(endpoint))
}

/// SPIFFE Workload Endpoint §4.
fn parse_endpoint(address: &str, what: &str) -> Result<Endpoint, IdentityError> {
    let refused = |why: &dyn fmt::Display| {
        let address = text::field(address, 200);
        missing(format!(
            "{what} is {address}, which is no address of a Workload API ({why}); use one such as `{DEFAULT_ENDPOINT}` \
             or `tcp://127.0.0.1:8081`"
        ))
    };
    let endpoint = Endpoint::parse(address).map_err(|error| refused(&error))?;
    match &endpoint {
        // The parser keeps escapes as they are: the file of that name would never be found.
        Endpoint::Unix(path) if path.to_string_lossy().contains('%') => {
            Err(refused(&"the path has characters that a URI must escape"))
        }
        _ => Ok(endpoint),
    }
}

fn missing(message: impl Into<String>) -> IdentityError {
    IdentityError::new(IdentityErrorKind::Missing, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_standard_writes_them() {
        for good in [DEFAULT_ENDPOINT, "unix:/tmp/a.sock", "tcp://127.0.0.1:8081", "tcp://[::1]:8081"] {
            SpireProviderBuilder::new().endpoint(good).build().unwrap();
        }
        let bad = [
            "",
            "agent.sock",
            "/tmp/a.sock",
            "unix://",
            "unix:relative",
            "unix://host/a.sock",
            "http://127.0.0.1:1",
            "tcp://localhost:8081",
            "tcp://127.0.0.1",
            "tcp://127.0.0.1:1/a",
            "unix:///a?b",
            "unix:///a#b",
            "unix:///a b",
            "tcp://user@127.0.0.1:1",
        ];
        for bad in bad {
            let error = SpireProviderBuilder::new().endpoint(bad).build().unwrap_err();
            assert_eq!(error.kind(), IdentityErrorKind::Missing, "{bad}");
            assert!(error.to_string().contains(DEFAULT_ENDPOINT), "{error}");
        }
    }

    #[test]
    fn a_wrong_variable_is_named() {
        assert_eq!(from_variable(None).unwrap().endpoint, DEFAULT_ENDPOINT);
        assert_eq!(from_variable(Some("unix:///a".into())).unwrap().endpoint, "unix:///a");
        #[cfg(unix)]
        let values =
            [OsString::from(""), "nonsense".into(), std::os::unix::ffi::OsStringExt::from_vec(vec![0xff])];
        #[cfg(not(unix))]
        let values = [OsString::from(""), "nonsense".into()];
        for value in values {
            let error = from_variable(Some(value)).unwrap_err();
            assert_eq!(error.kind(), IdentityErrorKind::Missing);
            assert!(error.to_string().contains("`SPIFFE_ENDPOINT_SOCKET`"), "{error}");
        }
    }

    #[test]
    fn a_control_character_of_an_address_reaches_no_terminal() {
        let error = SpireProviderBuilder::new().endpoint("nonsense\u{1b}[31m").build().unwrap_err();
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
    }

    #[test]
    fn an_empty_hint_no_time_and_endless_time_are_refused() {
        SpireProviderBuilder::new().hint("").build().unwrap_err();
        SpireProviderBuilder::new().initial_timeout(Duration::ZERO).build().unwrap_err();
        SpireProviderBuilder::new().initial_timeout(LONGEST_TIMEOUT).build().unwrap();
        for long in [LONGEST_TIMEOUT + Duration::from_nanos(1), Duration::MAX] {
            let error = SpireProviderBuilder::new().initial_timeout(long).build().unwrap_err();
            assert_eq!(error.kind(), IdentityErrorKind::Missing);
            assert!(error.to_string().contains("longer than a day"), "{error}");
        }
    }
}
