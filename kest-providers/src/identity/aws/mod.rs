//! Workloads on AWS: identity from STS, signatures by KMS. Spec §10.

mod caller;
mod der;
mod explain;
mod keys;
mod kms;
mod plan;
mod published;
mod settings;

use std::fmt;
use std::sync::Arc;

pub use aws_sdk_kms::config::{Credentials, ProvideCredentials};
use kest_core::error::IdentityError;
use kest_core::identity::{BoxFuture, IdentityProvider};
use kest_core::jws::Jws;
use kest_core::keys::Jwks;

pub use self::keys::{KmsKeys, KmsKeysBuilder};
#[cfg(feature = "bedrock")]
pub(super) use self::kms::Agent;
pub(super) use self::kms::{KmsIdentity, Workload};
#[cfg(feature = "bedrock")]
pub(super) use self::settings::variable;
pub(super) use self::settings::{Settings, setters};

/// The identity that AWS STS attests, and a KMS key that signs for it.
///
/// The workload id is the caller's ARN as STS gives it, such as `arn:aws:sts::123456789012:assumed-role/payments/i-0abc`.
/// The private key never leaves KMS. What KMS signed is checked here with the public key before it is given out.
///
/// Nothing is contacted before the first use, or [`Self::initialize`]; a failure is tried again at the next use. From
/// then on id and key stay what they were: an alias that is pointed at another key meanwhile changes nothing.
///
/// | key spec | algorithm | what KMS gets to see |
/// |---|---|---|
/// | `ECC_NIST_P256`, `ECC_NIST_P384` | ES256, ES384 | a digest |
/// | `RSA_2048`, `RSA_3072`, `RSA_4096` | RS256, or PS256 with [`rsa_pss`](AwsWorkloadIdentityBuilder::rsa_pss) | a digest |
/// | `ECC_NIST_EDWARDS25519` | EdDSA | the whole signing input, 4,096 bytes at most |
///
/// ```no_run
/// use kest_providers::identity::AwsWorkloadIdentity;
///
/// let identity = AwsWorkloadIdentity::builder().kms_key_id("alias/kest-signing").region("eu-west-1").build()?;
/// # Ok::<_, kest_core::error::IdentityError>(())
/// ```
pub struct AwsWorkloadIdentity(KmsIdentity);

/// The variable that names the KMS key.
pub(super) const KEY_VARIABLE: &str = "KEST_AWS_KMS_KEY_ID";

impl AwsWorkloadIdentity {
    /// An identity that signs with this key: a key id, a key ARN, `alias/<name>` or an alias ARN. Everything else
    /// comes from where the AWS SDK looks for it.
    ///
    /// # Errors
    /// When that is none of them.
    pub fn new(kms_key_id: impl Into<String>) -> Result<Self, IdentityError> {
        Self::builder().kms_key_id(kms_key_id).build()
    }

    /// The identity that the environment names: the key by `KEST_AWS_KMS_KEY_ID`.
    ///
    /// # Errors
    /// When the variable is missing or names no key.
    pub fn from_env() -> Result<Self, IdentityError> {
        Self::builder().build()
    }

    /// An identity with settings of its own.
    pub fn builder() -> AwsWorkloadIdentityBuilder {
        AwsWorkloadIdentityBuilder { settings: Settings::new(KEY_VARIABLE, None) }
    }

    /// Asks STS and KMS now rather than on first use.
    ///
    /// # Errors
    /// When there are no credentials, STS or KMS cannot be reached, or the key is none that can sign.
    pub async fn initialize(&self) -> Result<(), IdentityError> {
        self.0.initialize().await
    }
}

impl fmt::Debug for AwsWorkloadIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.debug("AwsWorkloadIdentity", f)
    }
}

/// Settings of an [`AwsWorkloadIdentity`].
#[derive(Debug)]
#[must_use]
pub struct AwsWorkloadIdentityBuilder {
    settings: Settings,
}

impl AwsWorkloadIdentityBuilder {
    setters!();

    /// The identity. Nothing is contacted yet.
    ///
    /// # Errors
    /// When no key is given, here or by `KEST_AWS_KMS_KEY_ID`, or a setting cannot be used.
    pub fn build(self) -> Result<AwsWorkloadIdentity, IdentityError> {
        Ok(AwsWorkloadIdentity(KmsIdentity::new(self.settings.checked()?, Workload::Caller)))
    }
}

/// Passes everything on to the [`KmsIdentity`] inside.
macro_rules! signs_by_kms {
    ($provider:ty) => {
        impl IdentityProvider for $provider {
            fn workload_id(&self) -> Result<Arc<str>, IdentityError> {
                self.0.workload_id()
            }

            fn sign(&self, payload: &[u8]) -> Result<Jws, IdentityError> {
                self.0.sign(payload)
            }

            fn sign_async<'a>(&'a self, payload: &'a [u8]) -> BoxFuture<'a, Result<Jws, IdentityError>> {
                Box::pin(self.0.sign_async(payload))
            }

            fn public_keys(&self) -> Result<Jwks, IdentityError> {
                self.0.public_keys()
            }

            fn ready(&self) -> Option<BoxFuture<'_, Result<(), IdentityError>>> {
                self.0.ready()
            }
        }
    };
}
#[cfg(feature = "bedrock")]
pub(super) use signs_by_kms;

signs_by_kms!(AwsWorkloadIdentity);
