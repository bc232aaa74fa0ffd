//! A cloud with policy stores to test in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_sdk_verifiedpermissions::Client;
use aws_sdk_verifiedpermissions::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_verifiedpermissions::types::{
    PolicyDefinition, StaticPolicyDefinition, ValidationMode, ValidationSettings,
};
use cedar_policy::{ActionConstraint, Policy};
use kest::policy::{AvpEngine, AvpEngineBuilder};
use kest_lab::{Fakecloud, Lab, Proxy};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

pub(crate) const REGION: &str = "eu-west-1";
pub(crate) const WRONG_SECRET: &str = "a-secret-that-nobody-gave";

/// A running fakecloud, and its administrator.
pub(crate) struct Cloud {
    fakecloud: Mutex<Option<Fakecloud>>,
    url: String,
    proxy: Proxy,
    actions: Arc<Mutex<HashMap<String, String>>>,
    runtime: Runtime,
    admin: Client,
}

impl Cloud {
    pub(crate) fn start() -> Option<Self> {
        let lab = Lab::from_env()?;
        let fakecloud = Fakecloud::start(&lab);
        let url = fakecloud.url();
        let actions: Arc<Mutex<HashMap<String, String>>> = Arc::default();
        let known = Arc::clone(&actions);
        let proxy = Proxy::start(fakecloud.port(), move |operation, ask| match operation {
            "listpolicies" => Ok(with_actions(&ask()?, &known.lock().unwrap())),
            _ => ask(),
        });
        let config = aws_sdk_verifiedpermissions::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(&url)
            .credentials_provider(credentials())
            .build();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Some(Self {
            fakecloud: Mutex::new(Some(fakecloud)),
            url,
            proxy,
            actions,
            runtime,
            admin: Client::from_conf(config),
        })
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

    /// Adds static policies, each for one action; their ids are the store's.
    pub(crate) fn add(&self, store: &str, policies: &[(String, String)]) {
        for (_, text) in policies {
            let policy = StaticPolicyDefinition::builder().statement(text).build().unwrap();
            let policy = self
                .admin
                .create_policy()
                .policy_store_id(store)
                .definition(PolicyDefinition::Static(policy));
            let made =
                self.runtime.block_on(policy.send()).unwrap_or_else(|error| panic!("{text}: {error:?}"));
            let ActionConstraint::Eq(action) = Policy::parse(None, text).unwrap().action_constraint() else {
                panic!("{text}: not for one action")
            };
            self.actions.lock().unwrap().insert(made.policy_id, action.id().unescaped().to_owned());
        }
    }

    pub(crate) fn engine(&self, store: &str) -> AvpEngineBuilder {
        self.bare_engine(store).endpoint_url(self.proxy.url())
    }

    /// One that asks fakecloud itself.
    pub(crate) fn bare_engine(&self, store: &str) -> AvpEngineBuilder {
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

/// The answer to `ListPolicies` with the actions that AWS tells for each static policy, and fakecloud does not.
fn with_actions(answer: &[u8], actions: &HashMap<String, String>) -> Vec<u8> {
    let text = String::from_utf8(answer.to_vec()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut list: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{text}: {error}"));
    for policy in list["policies"].as_array_mut().into_iter().flatten() {
        let action = &actions[policy["policyId"].as_str().unwrap()];
        policy["actions"] = json!([{"actionType": "Action", "actionId": action}]);
    }
    let (status, body) = (head.lines().next().unwrap(), list.to_string());
    let length = body.len();
    format!(
        "{status}\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

fn credentials() -> Credentials {
    Credentials::new("test", "test", None, None, "lab")
}
