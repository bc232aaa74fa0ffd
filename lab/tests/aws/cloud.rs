//! A cloud to test in: ministack, its keys, and what stands between it and a workload.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use aws_sdk_kms::config::{BehaviorVersion, Region};
use aws_sdk_kms::types::{KeySpec, KeyUsageType};
use kest::identity::aws::Credentials;
use kest::identity::{AwsWorkloadIdentity, AwsWorkloadIdentityBuilder};
use kest::jws::Jws;
use kest_lab::{Lab, Ministack, Proxy, repository};
use serde_json::json;

pub(crate) const REGION: &str = "eu-west-1";

/// Keys are made and broken here by an administrator; identities go through the proxy.
pub(crate) struct Cloud {
    pub(crate) lab: Lab,
    ministack: Mutex<Option<Ministack>>,
    pub(crate) proxy: Counter,
    runtime: tokio::runtime::Runtime,
    admin: aws_sdk_kms::Client,
}

impl Cloud {
    pub(crate) fn start() -> Option<Self> {
        let lab = Lab::from_env()?;
        let ministack = Ministack::start(&lab);
        let port = ministack.url().rsplit(':').next().unwrap().parse().unwrap();
        let config = aws_sdk_kms::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(ministack.url())
            .credentials_provider(credentials())
            .build();
        Some(Self {
            lab,
            ministack: Mutex::new(Some(ministack)),
            proxy: Counter::start(port),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
            admin: aws_sdk_kms::Client::from_conf(config),
        })
    }

    /// Nobody answers from now on.
    pub(crate) fn stop(&self) {
        self.ministack.lock().unwrap().take().unwrap();
    }

    pub(crate) fn key(&self, spec: &str, usage: KeyUsageType) -> String {
        let made = self.admin.create_key().key_spec(KeySpec::from(spec)).key_usage(usage).send();
        self.runtime.block_on(made).unwrap().key_metadata.unwrap().arn.unwrap()
    }

    pub(crate) fn signing_key(&self, spec: &str) -> String {
        self.key(spec, KeyUsageType::SignVerify)
    }

    pub(crate) fn alias(&self, name: &str, key: &str) {
        self.runtime.block_on(self.admin.create_alias().alias_name(name).target_key_id(key).send()).unwrap();
    }

    pub(crate) fn repoint(&self, name: &str, key: &str) {
        self.runtime.block_on(self.admin.update_alias().alias_name(name).target_key_id(key).send()).unwrap();
    }

    pub(crate) fn disable(&self, key: &str) {
        self.runtime.block_on(self.admin.disable_key().key_id(key).send()).unwrap();
    }

    pub(crate) fn enable(&self, key: &str) {
        self.runtime.block_on(self.admin.enable_key().key_id(key).send()).unwrap();
    }

    pub(crate) fn delete(&self, key: &str) {
        let scheduled = self.admin.schedule_key_deletion().key_id(key).pending_window_in_days(7).send();
        self.runtime.block_on(scheduled).unwrap();
    }

    /// The public key, straight from KMS.
    pub(crate) fn spki(&self, key: &str) -> Vec<u8> {
        let answer = self.runtime.block_on(self.admin.get_public_key().key_id(key).send());
        answer.unwrap().public_key.unwrap().into_inner()
    }

    pub(crate) fn identity(&self, key: &str) -> AwsWorkloadIdentityBuilder {
        AwsWorkloadIdentity::builder()
            .kms_key_id(key)
            .region(REGION)
            .endpoint_url(self.proxy.url())
            .credentials_provider(credentials())
    }

    /// What jwcrypto makes of these: a line for each, or why not.
    pub(crate) fn jwcrypto(&self, alg: &str, spki: &[u8], signed: &[Jws]) -> Result<String, String> {
        let mut child = Command::new(self.lab.part("python/bin/python"))
            .arg(repository().join("lab/python/check_jws.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let spki = base64_simd::STANDARD.encode_to_string(spki);
        let cases: Vec<String> = signed
            .iter()
            .map(|jws| json!({"jws": jws.as_str(), "alg": alg, "spki": spki}).to_string() + "\n")
            .collect();
        // A child that has ended reads no more; its exit code says why.
        let _ = child.stdin.take().unwrap().write_all(cases.concat().as_bytes());
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

pub(crate) fn credentials() -> Credentials {
    Credentials::new("test", "test", None, None, "lab")
}

/// Counts what goes through, and can play an overloaded KMS.
pub(crate) struct Counter {
    proxy: Proxy,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    throttled: AtomicBool,
    asked: Mutex<BTreeMap<String, usize>>,
}

impl Counter {
    fn start(target: u16) -> Self {
        let state = Arc::new(State::default());
        let seen = Arc::clone(&state);
        let proxy = Proxy::start(target, move |operation, ask| {
            // The query protocol of STS names it in the body.
            let action = if operation.is_empty() { "getcalleridentity" } else { operation };
            *seen.asked.lock().unwrap().entry(action.to_owned()).or_default() += 1;
            if action == "sign" && seen.throttled.load(Ordering::SeqCst) {
                let body = r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#;
                let length = body.len();
                return Ok(format!(
                    "HTTP/1.1 400 Bad Request\r\ncontent-type: application/x-amz-json-1.1\r\n\
                     content-length: {length}\r\nconnection: close\r\n\r\n{body}"
                )
                .into_bytes());
            }
            ask()
        });
        Self { proxy, state }
    }

    pub(crate) fn url(&self) -> String {
        self.proxy.url()
    }

    pub(crate) fn throttle(&self, on: bool) {
        self.state.throttled.store(on, Ordering::SeqCst);
    }

    pub(crate) fn count(&self, action: &str) -> usize {
        self.state.asked.lock().unwrap().get(action).copied().unwrap_or_default()
    }
}
