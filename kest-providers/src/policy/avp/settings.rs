//! What the engine is told.

use std::fmt;
use std::time::Duration;

use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::text::Quoted;

use super::AvpEngine;
use super::client::Shared;
use crate::aws::{Access, variable};
use crate::masked::masked;

/// The variable that names the policy store when the code does not.
const STORE_VARIABLE: &str = "KEST_AVP_POLICY_STORE_ID";

pub(super) struct Settings {
    /// Not empty once checked.
    pub(super) store: String,
    pub(super) access: Access,
    pub(super) max_bytes: usize,
    pub(super) max_connections: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            store: String::new(),
            access: Access::new(Duration::from_secs(1)),
            // Spec §17.
            max_bytes: 1 << 20,
            max_connections: 256,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("policy_store_id", &self.store)
            .field("region", &self.access.region)
            .field("endpoint_url", &self.access.endpoint_url.as_deref().map(masked))
            .field("timeout", &self.access.timeout)
            .field("max_bytes", &self.max_bytes)
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
}

/// Settings of an [`AvpEngine`].
#[derive(Debug)]
#[must_use]
pub struct AvpEngineBuilder(pub(super) Settings);

impl AvpEngineBuilder {
    /// The policy store: its id, or `policy-store-alias/<name>`, rather than what `KEST_AVP_POLICY_STORE_ID` says.
    pub fn policy_store_id(mut self, id: impl Into<String>) -> Self {
        self.0.store = id.into();
        if self.0.store.is_empty() {
            // The variable must not stand in for what the code meant to say.
            self.0.store = " ".to_owned();
        }
        self
    }

    /// The region, rather than `AWS_REGION`, the profile's or the instance's.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.0.access.region = Some(region.into());
        self
    }

    /// Where Verified Permissions is, rather than at AWS: a VPC endpoint, an emulator. The SDK's own
    /// `AWS_ENDPOINT_URL` and `AWS_ENDPOINT_URL_VERIFIEDPERMISSIONS` work as well. `https`, or `http` to this machine.
    pub fn endpoint_url(mut self, url: impl Into<String>) -> Self {
        self.0.access.endpoint_url = Some(url.into());
        self
    }

    /// How long one decision may take, all requests for it included: 1 second unless set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.access.timeout = timeout;
        self
    }

    /// Credentials, rather than those of the SDK's default chain: an assumed role, a profile.
    pub fn credentials_provider(mut self, provider: impl ProvideCredentials + 'static) -> Self {
        self.0.access.credentials = Some(SharedCredentialsProvider::new(provider));
        self
    }

    /// How large an answer may be: 1 MiB unless set. Spec §17.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.0.max_bytes = bytes;
        self
    }

    /// How many requests may be under way: 256 unless set. Others wait for their turn, within their own time limit.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.0.max_connections = connections;
        self
    }

    /// The engine. Nothing is contacted yet.
    ///
    /// # Errors
    /// When no policy store is named, here or by `KEST_AVP_POLICY_STORE_ID`, or a setting cannot be used.
    pub fn build(self) -> Result<AvpEngine, PolicyUnavailable> {
        let mut settings = self.0;
        if settings.store.is_empty() {
            settings.store = variable(STORE_VARIABLE)?.ok_or_else(|| {
                wrong(format!(
                    "no policy store is named; set `{STORE_VARIABLE}` to its id, or name it in code"
                ))
            })?;
        }
        check_store(&settings.store)?;
        settings.access.check()?;
        if settings.max_bytes == 0 || settings.max_connections == 0 {
            return Err(wrong(
                "a limit of zero lets no answer in; give `max_bytes` 1 MiB, `max_connections` 256".to_owned(),
            ));
        }
        Ok(AvpEngine(Shared::new(settings)))
    }
}

/// API Reference, IsAuthorized, policyStoreId.
fn check_store(id: &str) -> Result<(), PolicyUnavailable> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '/' | '_');
    if id.is_empty() || id.len() > 200 || !id.chars().all(fits) {
        return Err(wrong(format!(
            "{} is no policy store; give an id such as `PSEXAMPLEabcdefg111111`, or `policy-store-alias/<name>`",
            Quoted(id)
        )));
    }
    Ok(())
}

fn wrong(message: String) -> PolicyUnavailable {
    PolicyUnavailable::new(PolicyErrorKind::Load, message)
}
