//! The two engines with a server of HTTP, as one.

use std::sync::Arc;
use std::time::Duration;

use kest_core::policy::PolicyEngine;
use kest_providers::policy::{CedarAgentEngine, OpaEngine};

use super::{Reply, Server};

/// One of the two engines.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Product {
    Opa,
    CedarAgent,
}

pub(crate) const BOTH: [Product; 2] = [Product::Opa, Product::CedarAgent];

#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) time: Duration,
    pub(crate) queue: Duration,
    pub(crate) connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { time: Duration::from_secs(30), queue: Duration::from_secs(30), connections: 64 }
    }
}

impl Product {
    pub(crate) fn allow(self) -> &'static str {
        match self {
            Self::Opa => r#"{"result":{"allow":true}}"#,
            Self::CedarAgent => r#"{"decision":"Allow","diagnostics":{"reason":["p"],"errors":[]}}"#,
        }
    }

    pub(crate) fn deny(self) -> &'static str {
        match self {
            Self::Opa => r#"{"result":{"allow":false}}"#,
            Self::CedarAgent => r#"{"decision":"Deny","diagnostics":{"reason":["p"],"errors":[]}}"#,
        }
    }

    pub(crate) fn engine(self, url: &str, limits: Limits) -> Arc<dyn PolicyEngine> {
        let Limits { time, queue, connections } = limits;
        match self {
            Self::Opa => Arc::new(
                OpaEngine::builder()
                    .url(url)
                    .timeout(time)
                    .queue_timeout(queue)
                    .max_connections(connections)
                    .build()
                    .unwrap(),
            ),
            Self::CedarAgent => Arc::new(
                CedarAgentEngine::builder()
                    .url(url)
                    .timeout(time)
                    .queue_timeout(queue)
                    .max_connections(connections)
                    .build()
                    .unwrap(),
            ),
        }
    }

    pub(crate) fn allowing(self) -> (Server, Arc<dyn PolicyEngine>) {
        let server = Server::start(Reply::json(self.allow()));
        let engine = self.engine(&server.url(), Limits::default());
        (server, engine)
    }
}
