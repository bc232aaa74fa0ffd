//! A Rego engine and questions to it.

use kest_core::error::PolicyUnavailable;
use kest_core::policy::{Decision, PolicyEngine, PolicyRequest};
use kest_providers::policy::RegoEngine;

use crate::support::Call;

/// Attribute-based access as older Rego writes it.
pub(crate) const DATA_ACCESS: &str = r#"package kest.check_data_access
default allow = false
allow {
    input.subject.user.role == "admin"
    input.object.attributes.sensitivity != "top_secret"
}
allow {
    input.subject.user.department == input.object.attributes.department
}
"#;

pub(crate) fn shipped() -> RegoEngine {
    RegoEngine::from_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../policies")).unwrap()
}

pub(crate) fn ask(engine: &RegoEngine, policy: &str, call: &Call) -> Result<Decision, PolicyUnavailable> {
    engine.evaluate(&PolicyRequest { policy, input: &call.input().as_input() })
}

pub(crate) fn allows(engine: &RegoEngine, policy: &str, call: &Call) -> bool {
    match ask(engine, policy, call).unwrap() {
        Decision::Allow { .. } => true,
        Decision::Deny { .. } => false,
    }
}

/// One policy `t`, its body after the package clause.
pub(crate) fn policy(body: &str) -> Result<RegoEngine, PolicyUnavailable> {
    RegoEngine::from_sources([("t", format!("package t\nimport rego.v1\n{body}"))])
}
