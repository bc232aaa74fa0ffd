//! Verified Permissions on a loopback port, for the answers that no emulator gives.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use aws_credential_types::Credentials;
use kest_core::error::PolicyUnavailable;
use kest_core::policy::{Decision, InputDocument, PolicyEngine, PolicyRequest};
use kest_providers::policy::{AvpEngine, AvpEngineBuilder};
use serde_json::{Value, json};

pub(crate) const STORE: &str = "PSEXAMPLEabcdefg111111";
pub(crate) const SECRET: &str = "wJalrXUtnFEMI-do-not-show-this";
pub(crate) const TOKEN: &str = "FwoGZXIvYXdzE-nor-this";

/// What was asked.
pub(crate) struct Request {
    /// `isauthorized` or `listpolicies`.
    pub(crate) action: String,
    pub(crate) body: Value,
}

/// What is answered.
pub(crate) enum Reply {
    Json(u16, Value),
    /// This, and then the connection is closed.
    Raw(String),
    /// Nothing, until the other side gives up.
    Silence,
}

type Answer = dyn Fn(&Request) -> Reply + Send + Sync;

pub(crate) struct Fake {
    port: u16,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Fake {
    pub(crate) fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let fake = Self { port: listener.local_addr().unwrap().port(), asked: Arc::default() };
        let (asked, answer): (_, Arc<Answer>) = (Arc::clone(&fake.asked), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (asked, answer) = (Arc::clone(&asked), Arc::clone(&answer));
                thread::spawn(move || while serve(&stream, &asked, &*answer).is_some() {});
            }
        });
        fake
    }

    /// Answers every `IsAuthorized` so, and lists one policy, of the name `a/b`.
    pub(crate) fn saying(reply: impl Fn() -> Reply + Send + Sync + 'static) -> Self {
        Self::start(move |request| match &*request.action {
            "isauthorized" => reply(),
            _ => Reply::Json(200, json!({"policies": [policy(Some("a/b"), "Permit")]})),
        })
    }

    /// Denies by no policy, and answers `ListPolicies` so.
    pub(crate) fn listing(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(move |request| match &*request.action {
            "isauthorized" => decided("DENY"),
            _ => reply(request),
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn count(&self, action: &str) -> usize {
        self.bodies(action).len()
    }

    pub(crate) fn bodies(&self, action: &str) -> Vec<Value> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(asked, _)| asked == action).map(|(_, body)| body.clone()).collect()
    }

    pub(crate) fn builder(&self) -> AvpEngineBuilder {
        AvpEngine::builder()
            .policy_store_id(STORE)
            .region("eu-west-1")
            .endpoint_url(self.url())
            .timeout(Duration::from_secs(20))
            .credentials_provider(credentials())
    }

    pub(crate) fn engine(&self) -> AvpEngine {
        self.builder().build().unwrap()
    }
}

pub(crate) fn credentials() -> Credentials {
    Credentials::new("AKIDEXAMPLE", SECRET, Some(TOKEN.to_owned()), None, "test")
}

fn serve(mut stream: &TcpStream, asked: &Mutex<Vec<(String, Value)>>, answer: &Answer) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let mut body = vec![0; header("content-length:").map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).ok()?;
    let target = header("x-amz-target:").unwrap();
    let action = target.strip_prefix("verifiedpermissions.").unwrap().to_owned();
    let request = Request { action, body: serde_json::from_slice(&body).unwrap() };
    asked.lock().unwrap().push((request.action.clone(), request.body.clone()));
    let (status, body) = match answer(&request) {
        Reply::Json(status, body) => (status, body.to_string()),
        Reply::Raw(bytes) => {
            stream.write_all(bytes.as_bytes()).ok()?;
            return None;
        }
        Reply::Silence => {
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let _ = stream.read(&mut [0]);
            return None;
        }
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status} X\r\ncontent-type: application/x-amz-json-1.0\r\n");
    stream.write_all(format!("{head}content-length: {length}\r\n\r\n{body}").as_bytes()).ok()
}

/// A decision by no policy in particular.
pub(crate) fn decided(decision: &str) -> Reply {
    answered(decision, &[], &[])
}

pub(crate) fn answered(decision: &str, by: &[&str], errors: &[&str]) -> Reply {
    let by: Vec<_> = by.iter().map(|id| json!({"policyId": id})).collect();
    let errors: Vec<_> = errors.iter().map(|text| json!({"errorDescription": text})).collect();
    Reply::Json(200, json!({"decision": decision, "determiningPolicies": by, "errors": errors}))
}

/// An error of AWS.
pub(crate) fn refused(status: u16, code: &str) -> Reply {
    Reply::Json(status, json!({"__type": code, "message": "as asked\u{1b}[31m"}))
}

/// A policy as `ListPolicies` gives it.
pub(crate) fn policy(action: Option<&str>, effect: &str) -> Value {
    let mut policy = json!({
        "policyStoreId": STORE, "policyId": "SPEXAMPLE", "policyType": "STATIC", "effect": effect,
        "definition": {"static": {}}, "createdDate": "2026-01-01T00:00:00Z", "lastUpdatedDate": "2026-01-01T00:00:00Z",
    });
    if let Some(action) = action {
        policy["actions"] = json!([{"actionType": "Action", "actionId": action}]);
    }
    policy
}

pub(crate) fn ask(engine: &dyn PolicyEngine, policy: &str) -> Result<Decision, PolicyUnavailable> {
    ask_with(engine, policy, json!({}))
}

pub(crate) fn ask_with(
    engine: &dyn PolicyEngine,
    policy: &str,
    document: Value,
) -> Result<Decision, PolicyUnavailable> {
    let document: InputDocument = serde_json::from_value(document).unwrap();
    let input = document.as_input();
    engine.evaluate(&PolicyRequest { policy, input: &input })
}
