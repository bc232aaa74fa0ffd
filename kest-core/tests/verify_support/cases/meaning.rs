//! Entries that mean what they may not: trust, taints, authority, and where a passport ends.

use serde_json::{Value, json};

use super::super::{NOW_MS, Workload, entry_id};
use super::Table;

pub(super) fn semantics(t: &mut Table) {
    let none = || json!({});
    t.root("root_above_its_source", "RaisedTrust", |p| p["trust_score"] = json!(81));
    t.root("root_without_source", "RaisedTrust", |p| p["metadata"]["trust"]["source_type"] = Value::Null);
    t.root("unknown_model", "UnknownModel", |p| p["metadata"]["trust"]["model"] = json!("generous"));
    t.root("denial_in_a_passport", "Denial", |p| {
        p["classification"] = json!("denial");
        p["metadata"]["denied"] = json!({"policy": "kest/allow", "reason": null, "tier": "function"});
    });
    t.root("root_with_unexplained_taint", "UnexplainedTaint", |p| p["taints"] = json!(["pii"]));
    t.child("raised_trust", none(), "semantics", "RaisedTrust", |p| p["trust_score"] = json!(90));
    t.child("raised_trust_by_source", none(), "semantics", "RaisedTrust", |p| {
        p["metadata"]["trust"]["source_type"] = json!("user_input");
        p["trust_score"] = json!(41);
    });
    t.child("raised_trust_under_the_formula", none(), "semantics", "RaisedTrust", |p| {
        p["metadata"]["trust"] =
            json!({"model": "spec_v0_3", "override": null, "source_type": "verified_rag"});
        p["trust_score"] = json!(73);
    });
    t.child("raised_trust_by_an_evaluator", none(), "semantics", "RaisedTrust", |p| {
        p["metadata"]["trust"]["model"] = json!("guide/weighted");
        p["trust_score"] = json!(81);
    });
    t.child("override_mismatch", none(), "semantics", "OverrideMismatch", |p| {
        p["metadata"]["trust"]["override"] = json!(90);
    });
    t.child("completes_a_stranger", none(), "semantics", "Completes", |p| {
        p["classification"] = json!("completion");
        p["metadata"]["completes"] = json!(entry_id(7));
        p["metadata"]["outcome"] = json!("ok");
        p["metadata"]["policies"] = json!({});
        p["policy_context"]["function_policies"] = json!([]);
    });
    t.child("unexplained_taint", none(), "semantics", "UnexplainedTaint", |p| p["taints"] = json!(["pii"]));
    t.child("added_taint_left_out", none(), "semantics", "DroppedTaint", |p| {
        p["added_taints"] = json!(["pii"])
    });
    let mut root = t.w.root(0);
    root["added_taints"] = json!(["pii"]);
    root["taints"] = json!(["pii"]);
    let root = t.w.sign(&root);
    let child = t.w.child(1, &[&root]);
    let own = t.w.sign(&child);
    t.refuse("dropped_taint", &[root.as_str(), own.as_str()], 1, "semantics", "DroppedTaint");
    let foreign = t.w.sign(&Workload::foreign(child));
    let pair = [root.as_str(), foreign.as_str()];
    t.push("accepted_foreign_dropped_taint", &pair, json!({}), Value::Null);
    let failure = json!({"entry": 1, "step": "semantics", "failure": "DroppedTaint"});
    t.push("foreign_dropped_taint_under_strict", &pair, json!({"strict": true}), failure.clone());
    let ingress = json!({"ingress": {"now_ms": NOW_MS, "max_age_ms": 600_000, "skew_ms": 5_000}});
    t.push("foreign_dropped_taint_at_ingress", &pair, ingress, failure);
}

pub(super) fn authority(t: &mut Table) {
    let strict = |kind: &str| json!({"strict": true, "authority": {"spiffe://example.org/*": kind}});
    let root = t.w.sign(&t.w.root(0));
    let expect = |failure: &str| json!({"entry": 0, "step": "authority", "failure": failure});
    t.push("root_beyond_authority", &[root.as_str()], strict("federated"), expect("RootAuthority"));
    let mut rag = t.w.root(0);
    rag["metadata"]["trust"]["source_type"] = json!("verified_rag");
    let rag = t.w.sign(&rag);
    t.push("score_beyond_ceiling", &[rag.as_str()], strict("federated"), expect("Ceiling"));
    t.push("nobody_has_no_authority", &[rag.as_str()], strict("none"), expect("Ceiling"));
    let mut raised = t.w.root(0);
    raised["metadata"]["trust"] = json!({"model": "guide", "override": 60, "source_type": "llm"});
    raised["trust_score"] = json!(60);
    let raised = t.w.sign(&raised);
    t.push("override_beyond_authority", &[raised.as_str()], strict("federated"), expect("OverrideAuthority"));
    let mut cleaned = t.w.root(0);
    cleaned["classification"] = json!("sanitizer");
    cleaned["removed_taints"] = json!(["pii"]);
    cleaned["metadata"]["trust"]["source_type"] = json!("partner");
    cleaned["trust_score"] = json!(60);
    let cleaned = t.w.sign(&cleaned);
    t.push("removal_beyond_authority", &[cleaned.as_str()], strict("federated"), expect("RemovalAuthority"));
    t.push("accepted_authority", &[root.as_str()], strict("own"), Value::Null);
}

pub(super) fn ends(t: &mut Table) {
    let chain = t.w.chain(3);
    let [a, b, c] = [0, 1, 2].map(|index: usize| chain[index].as_str());
    let tip = json!({"expected_tip": chain[2].hash_hex()});
    let expect = |entry: Option<usize>, step: &str, failure: &str| json!({"entry": entry, "step": step, "failure": failure});
    t.push("truncated_tail_against_expected_tip", &[a, b], tip.clone(), expect(None, "completeness", "Tip"));
    let second = t.w.sign(&t.w.root(9));
    t.push(
        "spliced_second_root_against_expected_tip",
        &[a, b, c, second.as_str()],
        tip.clone(),
        expect(None, "completeness", "Tip"),
    );
    t.push("empty_against_expected_tip", &[], tip, expect(None, "completeness", "Tip"));
    let linear = json!({"linear": true});
    t.push(
        "second_root_under_linear",
        &[a, second.as_str()],
        linear.clone(),
        expect(Some(1), "completeness", "NotLinear"),
    );
    let fork = t.w.sign(&t.w.child(8, &[&chain[0]]));
    t.push("fork_under_linear", &[a, b, fork.as_str()], linear, expect(Some(2), "completeness", "NotLinear"));
    let ingress =
        |now_ms: u64| json!({"ingress": {"now_ms": now_ms, "max_age_ms": 600_000, "skew_ms": 5_000}});
    t.push("tip_too_old", &[a, b, c], ingress(NOW_MS + 605_003), expect(Some(2), "time", "TooOld"));
    t.push("from_the_future", &[a, b, c], ingress(NOW_MS - 5_000), expect(Some(1), "time", "FromTheFuture"));
    t.push("accepted_ingress", &[a, b, c], ingress(NOW_MS + 600_000), Value::Null);
}
