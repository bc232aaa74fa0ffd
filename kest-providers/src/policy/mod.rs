//! Policy engines. Spec §11.

#[cfg(feature = "avp")]
mod avp;
pub mod cases;
#[cfg(feature = "cedar")]
mod cedar;
#[cfg(feature = "cedar-agent")]
mod cedar_agent;
#[cfg(any(feature = "cedar", feature = "cedar-agent", feature = "avp"))]
mod cedar_form;
#[cfg(any(feature = "opa", feature = "cedar-agent", feature = "avp"))]
mod deadline;
#[cfg(any(feature = "rego", feature = "cedar"))]
mod folder;
#[cfg(any(feature = "cedar-agent", feature = "avp"))]
mod listing;
mod mock;
#[cfg(any(feature = "rego", feature = "opa", feature = "cedar-agent", feature = "avp"))]
mod name;
#[cfg(feature = "opa")]
mod opa;
#[cfg(any(feature = "rego", feature = "cedar", feature = "opa"))]
mod reason;
#[cfg(feature = "rego")]
mod rego;
#[cfg(any(feature = "opa", feature = "cedar-agent"))]
mod rest;
mod router;
#[cfg(any(feature = "rego", feature = "cedar"))]
mod unknown;
#[cfg(any(feature = "rego", feature = "cedar"))]
mod watch;

#[cfg(feature = "avp")]
#[doc(hidden)]
pub use self::avp::StoredPolicy;
#[cfg(feature = "avp")]
pub use self::avp::{AvpEngine, AvpEngineBuilder};
#[cfg(feature = "cedar")]
pub use self::cedar::{CedarEngine, CedarEngineBuilder};
#[cfg(feature = "cedar-agent")]
pub use self::cedar_agent::{CedarAgentEngine, CedarAgentEngineBuilder};
pub use self::mock::{MockPolicyEngine, RecordedCall};
#[cfg(feature = "opa")]
pub use self::opa::{OpaEngine, OpaEngineBuilder};
#[cfg(feature = "rego")]
pub use self::rego::{RegoEngine, RegoEngineBuilder};
pub use self::router::{Router, RouterBuilder};
