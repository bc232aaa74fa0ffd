//! Agents on Amazon Bedrock: identity by the agent's ARN, signatures by KMS. Spec §10.

use std::fmt;
use std::sync::Arc;

use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::identity::{BoxFuture, IdentityProvider};
use kest_core::jws::Jws;
use kest_core::keys::Jwks;
use kest_core::text::Quoted;

use super::aws::{Agent, KmsIdentity, Settings, Workload, setters, signs_by_kms, variable};

/// The identity of a Bedrock agent, and a KMS key that signs for it.
///
/// The workload id is `arn:<partition>:bedrock:<region>:<account>:agent/<id>`, or `…:agent-alias/<id>/<alias>` with an
/// alias. Partition and account are what STS says of the credentials; the agent's id is what the environment or the
/// builder says, and nothing in AWS attests it to the process. What ties it to the agent is the key: let the agent's
/// own role alone sign with it. Everything else is as with
/// [`AwsWorkloadIdentity`](super::AwsWorkloadIdentity).
///
/// ```no_run
/// use kest_providers::identity::BedrockAgentIdentity;
///
/// let identity = BedrockAgentIdentity::builder().agent_id("AGENT12345").region("eu-west-1").build()?;
/// # Ok::<_, kest_core::error::IdentityError>(())
/// ```
pub struct BedrockAgentIdentity(KmsIdentity);

const AGENT_VARIABLE: &str = "AWS_BEDROCK_AGENT_ID";
const ALIAS_VARIABLE: &str = "AWS_BEDROCK_AGENT_ALIAS_ID";
const KEY_VARIABLE: &str = "KEST_BEDROCK_KMS_KEY_ID";
const DEFAULT_KEY: &str = "alias/bedrock-agent-signing-key";

impl BedrockAgentIdentity {
    /// The identity that the environment names: the agent by `AWS_BEDROCK_AGENT_ID` and, where it is set,
    /// `AWS_BEDROCK_AGENT_ALIAS_ID`; the key by `KEST_BEDROCK_KMS_KEY_ID`, else `alias/bedrock-agent-signing-key`.
    ///
    /// # Errors
    /// When the agent's id is missing, or one of them cannot be used.
    pub fn from_env() -> Result<Self, IdentityError> {
        let mut builder = Self::builder();
        if let Some(id) = variable(AGENT_VARIABLE)? {
            builder = builder.agent_id(id);
        }
        if let Some(alias) = variable(ALIAS_VARIABLE)? {
            builder = builder.agent_alias_id(alias);
        }
        builder.build()
    }

    /// An identity with settings of its own. The agent is the one it is given, not the environment's.
    pub fn builder() -> BedrockAgentIdentityBuilder {
        BedrockAgentIdentityBuilder {
            agent_id: None,
            alias_id: None,
            settings: Settings::new(KEY_VARIABLE, Some(DEFAULT_KEY)),
        }
    }

    /// Asks STS and KMS now rather than on first use.
    ///
    /// # Errors
    /// When there are no credentials, STS or KMS cannot be reached, or the key is none that can sign.
    pub async fn initialize(&self) -> Result<(), IdentityError> {
        self.0.initialize().await
    }
}

impl fmt::Debug for BedrockAgentIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.debug("BedrockAgentIdentity", f)
    }
}

/// Settings of a [`BedrockAgentIdentity`].
#[derive(Debug)]
#[must_use]
pub struct BedrockAgentIdentityBuilder {
    agent_id: Option<String>,
    alias_id: Option<String>,
    settings: Settings,
}

impl BedrockAgentIdentityBuilder {
    /// The agent's id.
    pub fn agent_id(mut self, id: impl Into<String>) -> Self {
        self.agent_id = Some(id.into());
        self
    }

    /// The id of the agent's alias.
    pub fn agent_alias_id(mut self, id: impl Into<String>) -> Self {
        self.alias_id = Some(id.into());
        self
    }

    setters!();

    /// The identity. Nothing is contacted yet.
    ///
    /// # Errors
    /// When there is no agent id, or an id, the key or another setting cannot be used.
    pub fn build(self) -> Result<BedrockAgentIdentity, IdentityError> {
        let Self { agent_id, alias_id, settings } = self;
        let Some(id) = agent_id else {
            let message =
                format!("no Bedrock agent is named; set `{AGENT_VARIABLE}`, or give its id to the builder");
            return Err(IdentityError::new(IdentityErrorKind::Missing, message));
        };
        check_id("agent", &id)?;
        if let Some(alias) = &alias_id {
            check_id("agent alias", alias)?;
        }
        let workload = Workload::Agent(Agent { id, alias: alias_id });
        Ok(BedrockAgentIdentity(KmsIdentity::new(settings.checked()?, workload)))
    }
}

/// Bedrock gives ten letters and digits; other platforms give longer ones. Nothing that could end or extend an ARN.
fn check_id(what: &str, id: &str) -> Result<(), IdentityError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if id.is_empty() || id.len() > 128 || !id.chars().all(fits) {
        let id = Quoted(id);
        let message = format!(
            "{id} is no id of a Bedrock {what}; use letters, digits, `-` and `_`, such as `ABCDE12345`"
        );
        return Err(IdentityError::new(IdentityErrorKind::Missing, message));
    }
    Ok(())
}

signs_by_kms!(BedrockAgentIdentity);
