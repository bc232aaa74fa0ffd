//! What the builders of all engines with a server have in common.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kest_core::error::PolicyUnavailable;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::address::Endpoint;
use super::connection::Pool;
use super::credentials::{Authorization, Secret};
use super::tls::Tls;
use super::{Health, Limits, Rest, Shared, refuse};
use crate::address::Plain;
use crate::masked::masked;

/// Where a server is, and how it is asked.
#[derive(Clone)]
pub(in crate::policy) struct Settings {
    /// The product, for messages.
    pub(in crate::policy) server: &'static str,
    /// What stands before the token, such as `Bearer `.
    pub(in crate::policy) scheme: &'static str,
    /// How long an unused connection is kept: shorter than the server does.
    pub(in crate::policy) keep: Duration,
    pub(in crate::policy) url: Option<String>,
    pub(in crate::policy) plain: Plain,
    pub(in crate::policy) secret: Option<Secret>,
    pub(in crate::policy) roots: Vec<u8>,
    pub(in crate::policy) timeout: Duration,
    pub(in crate::policy) queue_timeout: Duration,
    pub(in crate::policy) max_connections: usize,
    pub(in crate::policy) max_bytes: usize,
}

impl Settings {
    pub(in crate::policy) fn new(server: &'static str, scheme: &'static str, keep: Duration) -> Self {
        Self {
            server,
            scheme,
            keep,
            url: None,
            plain: Plain::Here,
            secret: None,
            roots: Vec::new(),
            timeout: Duration::from_secs(1),
            queue_timeout: Duration::from_secs(30),
            max_connections: 64,
            // Spec §17.
            max_bytes: 1024 * 1024,
        }
    }

    pub(in crate::policy) fn build(self) -> Result<Rest, PolicyUnavailable> {
        const MOST: usize = 4096;
        let Some(url) = self.url else {
            return Err(refuse(format!("say where {} is: `.url(…)`", self.server)));
        };
        for (name, time) in [("timeout", self.timeout), ("queue_timeout", self.queue_timeout)] {
            if time.is_zero() {
                return Err(refuse(format!("a `{name}` of zero lets no question be answered; raise it")));
            }
        }
        if !(1..=MOST).contains(&self.max_connections) {
            return Err(refuse(format!("`max_connections` is {}; give 1 to {MOST}", self.max_connections)));
        }
        let authorization = Authorization::new(self.scheme, self.secret).map_err(refuse)?;
        let endpoint = Endpoint::new(self.server, &url, self.plain)?;
        let pool = Pool::new(self.max_connections, self.keep, Tls::new(&self.roots)?);
        Ok(Rest(Arc::new(Shared {
            server: self.server,
            endpoint,
            authorization,
            pool,
            health: Mutex::new(Health { answered: Instant::now(), failing: false }),
            slots: Arc::new(Semaphore::new(self.max_connections)),
            limits: Limits {
                timeout: self.timeout,
                queue_timeout: self.queue_timeout,
                max_connections: self.max_connections,
                max_bytes: self.max_bytes,
            },
        })))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("url", &self.url.as_deref().map(masked))
            .field("plain", &self.plain)
            .field("secret", &self.secret)
            .field("roots", &format_args!("{} bytes", self.roots.len()))
            .field("timeout", &self.timeout)
            .field("queue_timeout", &self.queue_timeout)
            .field("max_connections", &self.max_connections)
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

/// The methods that builders share; their settings are in `self.rest`.
macro_rules! knobs {
    () => {
        /// Where the server is: `https`, or `http` to this machine. A path before that of the API may stand in it.
        pub fn url(mut self, url: impl Into<String>) -> Self {
            self.rest.url = Some(url.into());
            self
        }

        /// Allows `http` to other machines, such as a sidecar's address inside a pod's network. Whoever can read or
        /// change what goes over that network then sees the inputs and the token, and decides.
        pub fn allow_plain_http(mut self) -> Self {
            self.rest.plain = crate::address::Plain::Anywhere;
            self
        }

        /// Certificate authorities in PEM, believed for the server beside those of the system.
        pub fn root_certificates_pem(mut self, pem: &[u8]) -> Self {
            self.rest.roots.extend_from_slice(pem);
            self.rest.roots.push(b'\n');
            self
        }

        /// How long a question may take, from connecting to the last byte of the answer; 1 second by default.
        ///
        /// The wait for a turn comes before that. While the server answers nobody, a question fails within twice this
        /// time all the same: who has waited so long, since the last answer too, is not sent behind others that fail.
        pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
            self.rest.timeout = timeout;
            self
        }

        /// How long a question may wait until fewer than [`max_connections`](Self::max_connections) are under way;
        /// 30 seconds by default.
        pub fn queue_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.rest.queue_timeout = timeout;
            self
        }

        /// How many questions may be under way at a time, each on a connection of its own; 64 by default. Further
        /// ones wait.
        pub fn max_connections(mut self, connections: usize) -> Self {
            self.rest.max_connections = connections;
            self
        }

        /// How large an answer may be; 1 MiB by default.
        pub fn max_bytes(mut self, bytes: usize) -> Self {
            self.rest.max_bytes = bytes;
            self
        }
    };
}
pub(in crate::policy) use knobs;
