//! What the arguments of `#[kest_verified]` say is what policy is asked, what the entry holds, and how a
//! call is refused. Spec §7.

#![deny(warnings, clippy::all, clippy::pedantic)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unused_async,
    clippy::manual_async_fn,
    reason = "tests"
)]

mod desk;

use std::sync::Mutex;

use desk::{AppError, Desk, Result, allowed, allowed_async};
use kest::kest_verified;
use kest::policy::Decision;
use serde_json::{Value, json};

fn current_user() -> Value {
    json!({"name": "ada"})
}

// --- Values ---------------------------------------------------------------------------------

#[kest_verified(
    policy = unchecked(["shop/a", "shop/b"]),
    source_type = "internal",
    user = || current_user(),
    agent = "web",
    task = format!("order-{id}"),
    resource_id = id,
    resource_attr = json!({"note": note}),
    added_taints = ["pii", "raw"],
    labels = {"team": "risk", "note": note},
    trust_override = 30 + 5,
    operation = "orders.process",
    classification = "data",
    hash_input(id, note),
)]
async fn everything(id: u32, note: &str) -> Result<String> {
    tokio::task::yield_now().await;
    Ok(format!("{note}{id}"))
}

#[tokio::test]
async fn an_entry_says_what_the_attribute_said() {
    let (value, desk) = allowed_async(everything(7, "x")).await;
    assert_eq!(value.unwrap(), "x7");
    let entry = desk.entry();
    assert_eq!(entry["operation"], "orders.process");
    assert_eq!(entry["classification"], "data");
    assert_eq!(entry["trust_score"], 35);
    assert_eq!(entry["added_taints"], json!(["pii", "raw"]));
    assert_eq!(entry["labels"]["team"], "risk");
    assert_eq!(entry["labels"]["note"], "x");
    assert_eq!(entry["labels"]["kest.resource_id"], "7");
    assert_eq!(entry["labels"]["kest.resource_attr"], r#"{"note":"x"}"#);
    assert_eq!(entry["labels"]["kest.identity"], r#"{"agent":"web","task":"order-7","user":{"name":"ada"}}"#);
    assert_eq!(entry["policy_context"]["function_policies"], json!(["shop/a", "shop/b"]));
    assert_eq!(entry["metadata"]["function"], "macro_arguments::everything");
    assert_eq!(entry["metadata"]["trust"]["source_type"], "internal");
    assert_eq!(entry["metadata"]["trust"]["override"], 35);
    assert_eq!(entry["input_hash"].as_str().unwrap().len(), 64);
    let asked = desk.asked.lock().unwrap();
    assert_eq!(asked.iter().map(|(policy, _)| policy.as_str()).collect::<Vec<_>>(), ["shop/a", "shop/b"]);
    assert_eq!(asked[0].1["object"]["attributes"], json!({"note": "x"}));
}

#[kest_verified(policy = "kest/allow_trusted", origin = "system", sanitizer, removed_taints = vec!["raw"])]
fn sanitise(r#type: u32) -> Result<u32> {
    Ok(r#type)
}

#[kest_verified(
    policy = unchecked("own/engine"),
    source_type = String::from("system"),
    engine = Desk::new(Decision::deny()).0,
    trust_evaluator = kest::trust::WeakestLink,
)]
fn own_engine() -> Result<u32> {
    Ok(1)
}

#[test]
fn sanitizer_classifies_and_a_per_call_engine_judges() {
    let (value, desk) = allowed(|| sanitise(3));
    assert_eq!(value.unwrap(), 3);
    let entry = desk.entry();
    assert_eq!(entry["classification"], "sanitizer");
    assert_eq!(entry["removed_taints"], json!(["raw"]));
    let (value, desk) = allowed(own_engine);
    assert!(value.unwrap_err().is_denied());
    assert!(desk.signed().is_empty() && desk.asked.lock().unwrap().is_empty());
}

#[kest_verified(policy = unchecked("a"), source_type = "system", user = text.parse::<u32>()?)]
async fn question(text: &str) -> Result<u32> {
    Ok(text.parse::<u32>()? + 1)
}

#[kest_verified(policy = unchecked("a"), source_type = "system", user = text.parse::<u32>()?, agent = later().await)]
async fn question_later(text: String) -> Result<u32> {
    Ok(text.parse::<u32>()? + 1)
}

async fn later() -> &'static str {
    tokio::task::yield_now().await;
    "late"
}

#[tokio::test]
async fn question_mark_and_await_work_in_values() {
    assert_eq!(allowed_async(question("4")).await.0.unwrap(), 5);
    let (value, desk) = allowed_async(question_later("x".into())).await;
    assert!(matches!(value, Err(AppError::Own(message)) if message.contains("invalid digit")));
    assert!(desk.signed().is_empty(), "a value that fails ends the call before anything is signed");
    let (value, desk) = allowed_async(question_later("4".into())).await;
    assert_eq!(value.unwrap(), 5);
    assert_eq!(desk.entry()["labels"]["kest.identity"], r#"{"agent":"late","user":4}"#);
}

// --- Refusals -------------------------------------------------------------------------------

static RAN: Mutex<Vec<&str>> = Mutex::new(Vec::new());

fn ran(name: &'static str) {
    RAN.lock().unwrap().push(name);
}

#[kest_verified(policy = unchecked("a"), source_type = "system")]
fn refused() -> Result<()> {
    ran("refused");
    Ok(())
}

#[kest_verified(policy = unchecked("a"), source_type = "system", on_denied = |error| format!("no: {}", error.is_denied()))]
fn refused_text() -> String {
    ran("refused_text");
    String::new()
}

#[kest_verified(policy = unchecked("a"), source_type = "system", on_denied = |error| (id, error.is_denied()))]
async fn refused_pair(id: String) -> (String, bool) {
    ran("refused_pair");
    (id, false)
}

#[kest_verified(policy = unchecked("a"), source_type = "system", on_denied = swallow)]
async fn refused_unit() {
    ran("refused_unit");
}

#[kest_verified(policy = unchecked("a"), source_type = "system", on_denied = |e| Err(e.to_string()), record_output)]
async fn refused_recorded() -> Result<u32, String> {
    ran("refused_recorded");
    Ok(1)
}

fn swallow(error: kest::Error) {
    assert!(error.is_denied());
    drop(error);
}

#[tokio::test]
async fn a_refused_body_never_runs() {
    let (desk, kest) = Desk::new(Decision::deny());
    let calls = async {
        assert!(refused().unwrap_err().is_denied());
        assert_eq!(refused_text(), "no: true");
        assert_eq!(refused_pair("i".into()).await, ("i".to_owned(), true));
        refused_unit().await;
        refused_recorded().await.unwrap_err();
    };
    kest.scope(calls).await;
    assert!(desk.signed().is_empty());
    assert!(RAN.lock().unwrap().is_empty());
}

#[test]
fn without_an_identity_nothing_runs() {
    assert!(matches!(refused(), Err(AppError::Kest(error)) if !error.is_denied()));
}

#[kest_verified(policy = unchecked("a"), source_type = "system", record_output)]
fn recorded() -> Result<u32> {
    Ok(1)
}

#[test]
fn record_output_adds_an_entry() {
    let (value, desk) = allowed(recorded);
    assert_eq!(value.unwrap(), 1);
    assert_eq!(desk.signed()[1]["classification"], "completion");
}
