//! Policy inputs, made from a few values.

use std::sync::Arc;

use kest_core::policy::{InputDocument, Tier};
use serde_json::{Value, json};

/// What a test says about a call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) user: Option<Value>,
    pub(crate) attributes: Value,
    pub(crate) trust_score: u8,
    pub(crate) taints: Vec<Arc<str>>,
    pub(crate) tier: Tier,
    pub(crate) parents: Vec<String>,
    pub(crate) names: Vec<String>,
}

impl Call {
    pub(crate) fn new(trust_score: u8) -> Self {
        Self {
            user: None,
            attributes: json!({}),
            trust_score,
            taints: Vec::new(),
            tier: Tier::Function,
            parents: vec!["0".to_owned()],
            names: vec!["kest/allow_trusted".to_owned()],
        }
    }

    pub(crate) fn input(&self) -> InputDocument {
        serde_json::from_value(json!({
            "subject": {
                "workload": "spiffe://kest.internal/orders",
                "user": self.user,
                "trust_score": self.trust_score,
                "taints": self.taints.iter().map(|taint| &**taint).collect::<Vec<_>>(),
            },
            "object": {"id": "DOC-456", "attributes": self.attributes},
            "environment": {
                "is_root": true,
                "source_type": "user_input",
                "operation": "orders.process",
                "function": "shop::orders::process",
                "parent_hash": "0",
                "parent_hashes": self.parents,
                "policy_names": self.names,
                "policy_tier": self.tier,
            },
        }))
        .unwrap()
    }
}
