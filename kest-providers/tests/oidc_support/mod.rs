//! An issuer of this test process: its server, its keys, its tokens.
#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod keys;
pub(crate) mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use kest_core::keys::Jwk;
use kest_providers::identity::{OidcIdentity, OidcIdentityBuilder};
use serde_json::{Value, json};

use self::keys::Key;
use self::server::{Reply, Server};

pub(crate) const JWKS: &str = "/jwks";
pub(crate) const DISCOVERY: &str = "/.well-known/openid-configuration";

/// An issuer that publishes its keys on a loopback port.
pub(crate) struct Issuer {
    pub(crate) server: Server,
    pub(crate) key: Key,
}

impl Issuer {
    pub(crate) fn new() -> Self {
        let server = Server::start();
        let issuer = Self { server, key: Key::p256("first") };
        issuer.publish(&[&issuer.key]);
        let url = issuer.url();
        issuer
            .server
            .set(DISCOVERY, Reply::json(&json!({"issuer": url, "jwks_uri": format!("{url}{JWKS}")})));
        issuer
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    pub(crate) fn publish(&self, keys: &[&Key]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.public()).collect();
        self.server.set(JWKS, Reply::json(&json!({ "keys": keys })));
    }

    /// Claims of a good token.
    pub(crate) fn claims(&self) -> Value {
        json!({
            "iss": self.url(), "sub": "repo:octo/app:ref:refs/heads/main", "aud": "kest",
            "iat": now(), "nbf": now(), "exp": now() + 300, "jti": unique(),
        })
    }

    pub(crate) fn token(&self) -> String {
        self.sign(self.claims())
    }

    pub(crate) fn sign(&self, claims: Value) -> String {
        self.key.jwt(&claims)
    }

    /// A good token with some claims set, or left away where they are null.
    pub(crate) fn token_with(&self, changes: Value) -> String {
        self.sign(changed(self.claims(), changes))
    }

    /// An identity whose token is in that file.
    pub(crate) fn identity(&self, file: &TokenFile) -> OidcIdentity {
        self.settings(file).build().unwrap()
    }

    pub(crate) fn settings(&self, file: &TokenFile) -> OidcIdentityBuilder {
        OidcIdentity::builder().token_path(file.path()).issuer(self.url()).leeway(Duration::ZERO)
    }
}

/// The object with these members set, or removed where they are null.
pub(crate) fn changed(mut object: Value, changes: Value) -> Value {
    let members = object.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    object
}

/// A token's file, gone with this.
pub(crate) struct TokenFile(PathBuf);

impl TokenFile {
    /// A place with no file yet.
    pub(crate) fn none() -> Self {
        Self(std::env::temp_dir().join(format!("kest-oidc-{}-{}", std::process::id(), unique())))
    }

    pub(crate) fn with(token: &str) -> Self {
        let file = Self::none();
        file.put(token);
        file
    }

    /// Replaces the file at once, as Kubernetes does.
    pub(crate) fn put(&self, content: impl AsRef<[u8]>) {
        let new = self.0.with_extension("new");
        fs::write(&new, content).unwrap();
        fs::rename(&new, &self.0).unwrap();
    }

    pub(crate) fn remove(&self) {
        fs::remove_file(&self.0).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// Asks until there is a value.
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

pub(crate) fn ed25519() -> Jwk {
    Jwk::from_json(&Key::ed25519("k").public()).unwrap()
}

fn unique() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
