//! A cloud with policy stores to test in.

use std::sync::Mutex;

use aws_sdk_verifiedpermissions::Client;
use aws_sdk_verifiedpermissions::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_verifiedpermissions::types::{
    PolicyDefinition, StaticPolicyDefinition, ValidationMode, ValidationSettings,
};
use kest::policy::{AvpEngine, AvpEngineBuilder};
use kest_lab::{Fakecloud, Lab};
use tokio::runtime::{Builder, Runtime};

pub(crate) const REGION: &str = "eu-west-1";
pub(crate) const WRONG_SECRET: &str = "a-secret-that-nobody-gave";

/// A running fakecloud, and its administrator.
pub(crate) struct Cloud {
    fakecloud: Mutex<Option<Fakecloud>>,
    url: String,
    runtime: Runtime,
    admin: Client,
}

impl Cloud {
    pub(crate) fn start() -> Option<Self> {
        let lab = Lab::from_env()?;
        let fakecloud = Fakecloud::start(&lab);
        let url = fakecloud.url();
        let config = aws_sdk_verifiedpermissions::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(&url)
            .credentials_provider(credentials())
            .build();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Some(Self { fakecloud: Mutex::new(Some(fakecloud)), url, runtime, admin: Client::from_conf(config) })
    }

    /// Nobody answers from now on.
    pub(crate) fn stop(&self) {
        self.fakecloud.lock().unwrap().take().unwrap();
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A new, empty policy store without a schema.
    pub(crate) fn store(&self) -> String {
        let settings = ValidationSettings::builder().mode(ValidationMode::Off).build().unwrap();
        let made = self.admin.create_policy_store().validation_settings(settings).send();
        self.runtime.block_on(made).unwrap().policy_store_id
    }

    /// Adds static policies; their ids are the store's.
    pub(crate) fn add(&self, store: &str, policies: &[(String, String)]) {
        for (_, text) in policies {
            let policy = StaticPolicyDefinition::builder().statement(text).build().unwrap();
            let policy = self
                .admin
                .create_policy()
                .policy_store_id(store)
                .definition(PolicyDefinition::Static(policy));
            self.runtime.block_on(policy.send()).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        }
    }

    pub(crate) fn engine(&self, store: &str) -> AvpEngineBuilder {
        AvpEngine::builder()
            .policy_store_id(store)
            .region(REGION)
            .endpoint_url(self.url())
            .credentials_provider(credentials())
    }

    /// Somebody with credentials that are none.
    pub(crate) fn stranger(&self, store: &str) -> AvpEngineBuilder {
        self.engine(store).credentials_provider(Credentials::new(
            "AKIANOBODY",
            WRONG_SECRET,
            None,
            None,
            "lab",
        ))
    }
}

fn credentials() -> Credentials {
    Credentials::new("test", "test", None, None, "lab")
}
