//! Payloads that are no entries. Spec §2.

use serde_json::{Value, json};

use super::super::{Workload, entry_id};
use super::Table;

pub(super) fn schema(t: &mut Table) {
    t.root("schema_version", "Schema/SchemaVersion", |p| p["schema_version"] = json!("0.2.0"));
    t.root("entry_id_v4", "Schema/EntryId", |p| {
        p["entry_id"] = json!("019a0b0c-0d0e-4f10-8112-000000000000")
    });
    t.root("entry_id_variant", "Schema/EntryId", |p| {
        p["entry_id"] = json!("019a0b0c-0d0e-7f10-c112-000000000000")
    });
    t.root("entry_id_upper_case", "Schema/EntryId", |p| {
        p["entry_id"] = json!("019A0b0c-0d0e-7f10-8112-000000000000")
    });
    t.root("operation_empty", "Schema/Operation", |p| p["operation"] = json!(""));
    t.root("score_out_of_range", "Schema/TrustScore", |p| p["trust_score"] = json!(101));
    t.root("score_negative", "Schema/Type", |p| p["trust_score"] = json!(-1));
    t.root("score_fraction", "Schema/Type", |p| p["trust_score"] = json!(0.5));
    t.root("bogus_classification_type", "Schema/Type", |p| p["classification"] = json!(7));
    t.root("parent_ids_empty", "Schema/ParentIds", |p| p["parent_ids"] = json!([]));
    t.root("parent_ids_absent", "Schema/Missing", |p| drop(p.as_object_mut().unwrap().remove("parent_ids")));
    t.root("parent_ids_0000", "Schema/ParentIds", |p| p["parent_ids"] = json!(["0000"]));
    t.root("parent_ids_integer", "Schema/Type", |p| p["parent_ids"] = json!([0]));
    t.root("parent_ids_mixed", "Schema/ParentIds", |p| p["parent_ids"] = json!(["0", "a".repeat(64)]));
    t.root("parent_ids_upper_case", "Schema/ParentIds", |p| p["parent_ids"] = json!(["A".repeat(64)]));
    t.root("parent_ids_repeated", "Schema/ParentIds", |p| {
        p["parent_ids"] = json!(["a".repeat(64), "a".repeat(64)])
    });
    t.root("integer_where_object_belongs", "Schema/Type", |p| p["labels"] = json!(7));
    t.root("list_where_object_belongs", "Schema/Type", |p| p["policy_context"] = json!([]));
    t.root("metadata_null", "Schema/Type", |p| p["metadata"] = Value::Null);
    t.root("metadata_without_trust", "Schema/Missing", |p| {
        drop(p["metadata"].as_object_mut().unwrap().remove("trust"))
    });
    t.root("metadata_unknown", "Schema/Unknown", |p| p["metadata"]["x"] = json!(1));
    t.root("completes_without_being_a_completion", "Schema/Malformed", |p| {
        p["metadata"]["completes"] = json!(entry_id(0));
        p["metadata"]["outcome"] = json!("ok");
    });
    t.root("denial_without_its_policy", "Schema/Malformed", |p| p["classification"] = json!("denial"));
    t.root("denied_without_being_a_denial", "Schema/Malformed", |p| {
        p["metadata"]["denied"] = json!({"policy": "kest/allow", "reason": null, "tier": "function"});
    });
    t.root("snapshot_with_policies", "Schema/Malformed", |p| {
        p["classification"] = json!("snapshot");
        p["metadata"]["trust"]["source_type"] = Value::Null;
        p["metadata"]["policies"] = json!({});
        p["trust_score"] = json!(10);
    });
    t.root("completion_without_outcome", "Schema/Malformed", |p| p["classification"] = json!("completion"));
    t.root("override_out_of_range", "Schema/TrustScore", |p| p["metadata"]["trust"]["override"] = json!(101));
    t.root("taints_unsorted", "Schema/Taints", |p| {
        p["added_taints"] = json!(["b", "a"]);
        p["taints"] = json!(["a", "b"]);
    });
    t.root("taints_repeated", "Schema/Taints", |p| p["taints"] = json!(["a", "a"]));
    t.root("taint_empty", "Schema/Taints", |p| p["taints"] = json!([""]));
    t.root("taints_of_integers", "Schema/Type", |p| p["taints"] = json!([1]));
    t.root("principal_missing", "Schema/Label", |p| {
        drop(p["labels"].as_object_mut().unwrap().remove("principal"))
    });
    t.root("trace_id_missing", "Schema/Label", |p| {
        drop(p["labels"].as_object_mut().unwrap().remove("trace_id"))
    });
    t.root("trace_id_short", "Schema/Label", |p| p["labels"]["trace_id"] = json!("abc"));
    t.root("label_not_a_string", "Schema/Label", |p| p["labels"]["team"] = json!(7));
    t.root("identity_not_canonical", "Schema/Label", |p| p["labels"]["kest.identity"] = json!("{ }"));
    t.root("tier_missing", "Schema/Malformed", |p| {
        drop(p["policy_context"].as_object_mut().unwrap().remove("deviations"));
    });
    t.root("deviation_incomplete", "Schema/Malformed", |p| {
        p["policy_context"]["deviations"] = json!([{"policy": "a", "tier": "platform", "reason": "r"}]);
    });
    t.root("environment_not_empty", "Schema/Malformed", |p| p["environment"]["HOME"] = json!("/"));
    t.root("otel_context_partial", "Schema/Malformed", |p| {
        p["otel_context"] = json!({"span_id": "00f067aa0ba902b7"})
    });
    t.root("content_hash_malformed", "Schema/Hash", |p| p["content_hash"] = json!("abc"));
    t.root("input_hash_malformed", "Schema/Hash", |p| p["input_hash"] = json!("0"));
    t.root("timestamp_as_text", "Schema/Type", |p| p["timestamp_ms"] = json!("now"));
    t.root("member_missing", "Schema/Missing", |p| drop(p.as_object_mut().unwrap().remove("environment")));
    t.root("member_unknown", "Schema/Unknown", |p| p["comment"] = json!("hello"));
    t.root("runtime_version_missing", "Schema/Missing", |p| p["runtime"] = json!({"name": "kest-rust"}));
    t.root("too_many_parents", "TooManyParents", |p| {
        p["parent_ids"] = (0..257).map(|n| format!("{n:064x}")).collect();
    });
    t.root("too_many_taints", "TooManyTaints", |p| {
        p["taints"] = (0..257).map(|n| format!("{n:03}")).collect()
    });
    t.root("taint_too_long", "TooManyTaints", |p| p["taints"] = json!(["t".repeat(257)]));
    // A foreign entry must have right types for everything that security rests on.
    let text = t.w.sign(&Workload::foreign({
        let mut payload = t.w.root(0);
        payload["policy_context"]["app_policies"] = json!("all");
        payload
    }));
    t.refuse("foreign_policies_as_text", &[text.as_str()], 0, "schema", "Schema/Type");
}
