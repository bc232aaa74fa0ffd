//! Claims on Redis or Valkey.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use ::redis::{
    Client, ConnectionAddr, ErrorKind, IntoConnectionInfo as _, RedisError, TlsCertificates, Value,
};
use kest_core::claim::{BoxFuture, ClaimCache, ClaimId};
use kest_core::error::{PropagationError, PropagationErrorKind};
use kest_core::text::{Quoted, Safe};
use parking_lot::Mutex;

use crate::bridge;
use crate::masked::masked;

const TIMEOUT: Duration = Duration::from_secs(1);
const VALUE_BYTES: usize = 1 << 20;
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// Keeps claims on a Redis or Valkey server that the receivers ask too.
///
/// Connects with the first claim, and again when the connection was lost. Runs on a thread of its own, so that any
/// run-time or none will do.
///
/// What the server gives back is believed no more than any header, but the server itself is taken for one of one's
/// own: it is asked for no more than `value_bytes`, and one that sends more all the same is cut off when the time is
/// over, not before.
#[derive(Clone)]
pub struct RedisCache {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    shown: String,
    timeout: Duration,
    value_bytes: usize,
    current: Mutex<Current>,
}

/// The connection, and how many there have been.
#[derive(Default)]
struct Current {
    number: u64,
    manager: Option<ConnectionManager>,
}

/// A connection that is in use.
#[derive(Clone)]
struct Used {
    number: u64,
    manager: ConnectionManager,
}

/// Makes a [`RedisCache`].
#[must_use = "a builder does nothing until `build`"]
pub struct RedisCacheBuilder {
    url: String,
    user: Option<String>,
    password: Option<String>,
    roots: Option<Vec<u8>>,
    timeout: Duration,
    value_bytes: usize,
    plain: Plain,
}

/// Where claims may go in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plain {
    Here,
    Anywhere,
}

impl RedisCache {
    /// The server at `redis://host:port/database`, or `rediss://` for TLS. Nothing is connected yet.
    pub fn builder(url: impl Into<String>) -> RedisCacheBuilder {
        RedisCacheBuilder {
            url: url.into(),
            user: None,
            password: None,
            roots: None,
            timeout: TIMEOUT,
            value_bytes: VALUE_BYTES,
            plain: Plain::Here,
        }
    }
}

impl RedisCacheBuilder {
    /// The user, where the URL has none.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// The password, where the URL has none.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// The certificates, in PEM, that the server's is to descend from, instead of the system's.
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots = Some(pem.into());
        self
    }

    /// How long a claim may take to be kept or fetched, connecting included: 1 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The longest passport that is kept or fetched: 1 MiB.
    pub fn value_bytes(mut self, bytes: usize) -> Self {
        self.value_bytes = bytes;
        self
    }

    /// Lets `redis://` go to another machine: passports, and the password, can be read on the way there.
    pub fn in_the_clear(mut self) -> Self {
        self.plain = Plain::Anywhere;
        self
    }

    /// The cache.
    ///
    /// # Errors
    /// When the URL is none, or says what is not done here.
    pub fn build(self) -> Result<RedisCache, PropagationError> {
        let shown = shown(&self.url);
        let wrong = |what: &str| {
            PropagationError::new(PropagationErrorKind::Cache, format!("the address of redis {shown} {what}"))
        };
        if self.url.contains(['?', '#']) {
            return Err(wrong("has a query or a fragment; leave it away"));
        }
        let Ok(info) = self.url.as_str().into_connection_info() else {
            return Err(wrong(
                "is no URL of Redis; write `redis://host:port`, or `rediss://host:port` for TLS",
            ));
        };
        let tls = match info.addr() {
            ConnectionAddr::Tcp(host, _) if self.plain == Plain::Here && !is_loopback(host) => {
                return Err(wrong(
                    "is `redis://` to another machine, where what is kept can be read on the way; use `rediss://`, \
                     or say `in_the_clear()`",
                ));
            }
            ConnectionAddr::Tcp(..) => false,
            ConnectionAddr::TcpTls { insecure: false, .. } => true,
            ConnectionAddr::TcpTls { .. } | ConnectionAddr::Unix(_) => {
                return Err(wrong("is neither `redis://` nor `rediss://`"));
            }
            _ => return Err(wrong("is neither `redis://` nor `rediss://`")),
        };
        let mut settings = info.redis_settings().clone();
        if let Some(user) = &self.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        let info = info.set_redis_settings(settings);
        let begins = |pem: &Vec<u8>| pem.windows(CERTIFICATE.len()).any(|window| window == CERTIFICATE);
        if self.roots.as_ref().is_some_and(|pem| !begins(pem)) {
            return Err(wrong("cannot be used: there is no certificate in PEM in `root_certificates`"));
        }
        let client = if tls {
            // The client of `redis` takes the process's provider; a program that has chosen one keeps it.
            if rustls::crypto::CryptoProvider::get_default().is_none() {
                // Another thread may have been quicker.
                let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
            }
            Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: self.roots })
        } else {
            Client::open(info)
        };
        let client =
            client.map_err(|_| wrong("cannot be used: the certificates given are not readable as PEM"))?;
        Ok(RedisCache {
            inner: Arc::new(Inner {
                client,
                shown,
                timeout: self.timeout,
                value_bytes: self.value_bytes,
                current: Mutex::default(),
            }),
        })
    }
}

/// The address for messages, without what is secret in it.
fn shown(url: &str) -> String {
    Quoted(&masked(url)).to_string()
}

fn is_loopback(host: &str) -> bool {
    // RFC 6761 §6.3.
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl Inner {
    /// The connection, or a new one. Must run on the bridge, where it stays.
    fn connection(&self) -> Result<Used, RedisError> {
        let mut current = self.current.lock();
        if let Some(manager) = &current.manager {
            return Ok(Used { number: current.number, manager: manager.clone() });
        }
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout))
            .set_number_of_retries(1)
            .set_min_delay(Duration::from_millis(10))
            .set_max_delay(Duration::from_millis(50));
        let manager = ConnectionManager::new_lazy_with_config(self.client.clone(), config)?;
        current.manager = Some(manager.clone());
        current.number += 1;
        Ok(Used { number: current.number, manager })
    }

    /// Sends a command; once more when the connection turns out to be gone.
    async fn ask(&self, used: &Used, command: &::redis::Cmd) -> Result<(Value, Sent), Failure> {
        let mut sent = Sent::Once;
        let mut manager = used.manager.clone();
        loop {
            match (command.query_async::<Value>(&mut manager).await, sent) {
                (Ok(value), sent) => return Ok((value, sent)),
                (Err(error), Sent::Once)
                    if error.is_connection_dropped() && !error.is_connection_refusal() =>
                {
                    sent = Sent::Again;
                }
                (Err(error), _) => {
                    self.forget(used.number);
                    return Err(Failure::Redis(error));
                }
            }
        }
    }

    /// Lets go of a connection, and so of whatever is still coming over it. One that has taken its place stays.
    fn forget(&self, number: u64) {
        let mut current = self.current.lock();
        if current.number == number {
            current.manager = None;
        }
    }

    async fn in_time<T, W>(&self, work: impl FnOnce(Used) -> W) -> Result<T, PropagationError>
    where
        W: Future<Output = Result<T, Failure>>,
    {
        let used = self.connection().map_err(|error| Failure::Redis(error).explain(self))?;
        let number = used.number;
        match tokio::time::timeout(self.timeout, work(used)).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(failure)) => Err(failure.explain(self)),
            Err(_) => {
                self.forget(number);
                Err(Failure::Late.explain(self))
            }
        }
    }

    async fn put(&self, key: String, passport: String, ttl: Duration) -> Result<(), PropagationError> {
        if passport.is_empty() || passport.len() > self.value_bytes {
            return Err(PropagationError::new(
                PropagationErrorKind::TooLarge,
                format!(
                    "a passport of {} bytes cannot be kept on Redis; `value_bytes` is {}",
                    passport.len(),
                    self.value_bytes
                ),
            ));
        }
        let milliseconds = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut set = ::redis::cmd("SET");
        set.arg(&key).arg(&passport).arg("PX").arg(milliseconds).arg("NX");
        let (set, key) = (&set, &key);
        let passport = passport.as_bytes();
        self.in_time(|used| async move {
            match self.ask(&used, set).await? {
                (Value::Okay, _) => Ok(()),
                // The first of two attempts may have arrived before its connection broke.
                (Value::Nil, Sent::Again) if self.fetch(&used, key).await?.as_deref() == Some(passport) => {
                    Ok(())
                }
                (Value::Nil, _) => Err(Failure::Taken),
                _ => Err(Failure::Strange),
            }
        })
        .await
    }

    async fn get(&self, key: String) -> Result<Option<Arc<str>>, PropagationError> {
        let key = &key;
        self.in_time(|used| async move {
            let Some(bytes) = self.fetch(&used, key).await? else { return Ok(None) };
            if bytes.len() > self.value_bytes {
                return Err(Failure::TooLarge);
            }
            String::from_utf8(bytes).map(|text| Some(Arc::from(text))).map_err(|_| Failure::NoText)
        })
        .await
    }

    /// At most one byte more than may be kept. What is not there reads as empty, which nothing kept is.
    async fn fetch(&self, used: &Used, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        let mut get = ::redis::cmd("GETRANGE");
        get.arg(key).arg(0).arg(self.value_bytes);
        match self.ask(used, &get).await? {
            (Value::BulkString(bytes), _) if bytes.is_empty() => Ok(None),
            (Value::BulkString(bytes), _) => Ok(Some(bytes)),
            _ => Err(Failure::Strange),
        }
    }
}

/// How often a command was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Once,
    Again,
}

enum Failure {
    Redis(RedisError),
    Late,
    Taken,
    Strange,
    TooLarge,
    NoText,
}

impl Failure {
    fn explain(self, inner: &Inner) -> PropagationError {
        let (shown, limit) = (&inner.shown, inner.value_bytes);
        let cache = |what: String| {
            PropagationError::new(PropagationErrorKind::Cache, format!("redis at {shown} {what}"))
        };
        match self {
            Self::Redis(error) if error.is_timeout() => Self::Late.explain(inner),
            Self::Redis(error) if error.is_io_error() => {
                cache(format!("cannot be reached: {}", Safe(&error)))
            }
            Self::Redis(error) if error.kind() == ErrorKind::AuthenticationFailed => {
                cache("refused the user or the password".to_owned())
            }
            // What a server answers may repeat the command, and so the claim: its code is enough.
            Self::Redis(error) => match error.code() {
                Some(code) => cache(format!("refused with the error {}", Quoted(code))),
                None => cache(format!("did not answer as redis does ({})", error.category())),
            },
            Self::Late => cache(format!("did not answer within {:?} (`timeout`)", inner.timeout)),
            Self::Taken => cache("keeps another passport under this claim".to_owned()),
            Self::Strange => cache("gave an answer of another kind than was asked for".to_owned()),
            Self::NoText => cache("keeps something under this claim that is no text".to_owned()),
            Self::TooLarge => PropagationError::new(
                PropagationErrorKind::TooLarge,
                format!("redis at {shown} keeps a passport of more than {limit} bytes (`value_bytes`)"),
            ),
        }
    }
}

impl ClaimCache for RedisCache {
    fn put(&self, claim: &ClaimId, passport: &str, ttl: Duration) -> Result<(), PropagationError> {
        let (inner, key, passport) = (Arc::clone(&self.inner), claim.key(), passport.to_owned());
        bridge::block_on(async move { inner.put(key, passport, ttl).await }).map_err(no_bridge)?
    }

    fn get(&self, claim: &ClaimId) -> Result<Option<Arc<str>>, PropagationError> {
        let (inner, key) = (Arc::clone(&self.inner), claim.key());
        bridge::block_on(async move { inner.get(key).await }).map_err(no_bridge)?
    }

    fn put_async<'a>(
        &'a self,
        claim: &'a ClaimId,
        passport: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<(), PropagationError>> {
        let (inner, key, passport) = (Arc::clone(&self.inner), claim.key(), passport.to_owned());
        Box::pin(async move {
            bridge::run_wanted(async move { inner.put(key, passport, ttl).await }).await.map_err(no_bridge)?
        })
    }

    fn get_async<'a>(
        &'a self,
        claim: &'a ClaimId,
    ) -> BoxFuture<'a, Result<Option<Arc<str>>, PropagationError>> {
        let (inner, key) = (Arc::clone(&self.inner), claim.key());
        Box::pin(
            async move { bridge::run_wanted(async move { inner.get(key).await }).await.map_err(no_bridge)? },
        )
    }

    fn is_shared(&self) -> bool {
        true
    }
}

fn no_bridge(error: bridge::BridgeError) -> PropagationError {
    PropagationError::new(PropagationErrorKind::Cache, "redis was not asked").with_source(error)
}

impl fmt::Debug for RedisCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCache")
            .field("address", &format_args!("{}", self.inner.shown))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RedisCacheBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCacheBuilder")
            .field("address", &format_args!("{}", shown(&self.url)))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_late_on_an_old_connection_leaves_the_new_one() {
        let inner = RedisCache::builder("redis://127.0.0.1:9").build().unwrap().inner;
        let numbers = bridge::block_on(async move {
            let first = inner.connection()?.number;
            let same = inner.connection()?.number;
            inner.forget(first);
            let second = inner.connection()?.number;
            // Somebody who was waiting on the first all the time.
            inner.forget(first);
            Ok::<_, RedisError>([first, same, second, inner.connection()?.number])
        });
        assert_eq!(numbers.unwrap().unwrap(), [1, 1, 2, 2]);
    }
}
