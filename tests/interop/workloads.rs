//! The passports that the other programs are given: several workloads, through the public API.

use std::sync::{Arc, LazyLock};

use kest::config::Config;
use kest::identity::LocalEd25519Provider;
use kest::policy::MockPolicyEngine;
use kest::verify::Anchors;
use kest::{Error, Kest, Passport, kest_verified};
use serde_json::{Value, json};

/// A passport and the keys of those who signed it.
pub struct Case {
    pub name: &'static str,
    pub passport: Passport,
    pub anchors: Anchors,
}

static FRONT: LazyLock<Arc<LocalEd25519Provider>> =
    LazyLock::new(|| workload("spiffe://kest.internal/front"));
static BACK: LazyLock<Arc<LocalEd25519Provider>> = LazyLock::new(|| workload("spiffe://kest.internal/back"));
static CLOUD: LazyLock<Arc<LocalEd25519Provider>> =
    LazyLock::new(|| workload("arn:aws:sts::123456789012:assumed-role/bestellungen-größe/i-0"));

fn workload(id: &str) -> Arc<LocalEd25519Provider> {
    Arc::new(LocalEd25519Provider::new().unwrap().with_workload_id(id))
}

fn kest(config: &str) -> Kest {
    Kest::builder()
        .identity(Arc::clone(&*FRONT))
        .engine(MockPolicyEngine::allow())
        .config(Config::parse(config).unwrap())
        .build()
        .unwrap()
}

/// All cases. Keys are made anew in each process.
pub async fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |name, passport| cases.push(Case { name, passport, anchors: anchors() });
    let plain = kest("");

    let lineage = plain.enter();
    receive("order-17", &json!({ "amount": 12.5 })).unwrap();
    case("chain", lineage.passport());
    drop(lineage);

    let lineage = plain.enter();
    for turn in 0..20 {
        count(turn).unwrap();
    }
    case("sequence", lineage.passport());
    drop(lineage);

    case("fork_join", plain.scope(fork_and_join()).with_passport().await.1);

    let lineage = plain.enter();
    for value in [texts(), numbers(), json!(nested(40))] {
        receive("carried", &value).unwrap();
    }
    for text in texts().as_object().unwrap().values() {
        say(text.as_str().unwrap()).unwrap();
    }
    case("values", lineage.passport());
    drop(lineage);

    let lineage = plain.enter();
    fetch().unwrap();
    clean().unwrap();
    approve().unwrap();
    case("taints", lineage.passport());
    drop(lineage);

    let lineage = kest(DEVIATIONS).enter();
    lifted().unwrap();
    held().unwrap();
    case("deviations", lineage.passport());
    drop(lineage);

    case("completions", plain.scope(async { priced("17", 3).await.unwrap() }).with_passport().await.1);
    cases
}

/// One more call, in whatever lineage it is made.
#[kest_verified(policy = unchecked("interop/allow"), identity = Arc::clone(&*CLOUD), added_taints = ["back_in_rust"])]
pub fn carry_on() -> Result<(), Error> {
    Ok(())
}

/// The keys of every workload here.
pub fn anchors() -> Anchors {
    let mut anchors = Anchors::new();
    for workload in [&FRONT, &BACK, &CLOUD] {
        anchors.merge(Anchors::from_provider(&***workload).unwrap()).unwrap();
    }
    anchors
}

/// `Kest` without tiers, signing as the front.
pub fn plain() -> Kest {
    kest("")
}

#[kest_verified(
    policy = unchecked(["interop/allow", "interop/quota"]),
    source_type = "user_input",
    user = json!({ "name": "alice", "roles": ["buyer", "admin"] }),
    agent = "checkout-web-app",
    task = format!("order-{order}"),
    resource_id = order,
    resource_attr = attributes,
    added_taints = ["unverified", "contains_pii"],
    labels = { "team": "risk", "команда": "риск", "\u{1f600}": "after \u{fb33} in UTF-16, before it in code points", "\u{fb33}": "dalet" },
)]
fn receive(order: &str, attributes: &Value) -> Result<(), Error> {
    screen(order)
}

#[kest_verified(policy = unchecked("interop/allow"), identity = Arc::clone(&*BACK), resource_id = order)]
fn screen(order: &str) -> Result<(), Error> {
    settle()
}

#[kest_verified(policy = unchecked("interop/allow"), identity = Arc::clone(&*CLOUD), classification = "data")]
fn settle() -> Result<(), Error> {
    Ok(())
}

#[kest_verified(policy = unchecked("interop/allow"), source_type = "internal", resource_attr = json!({ "turn": turn }))]
fn count(turn: u32) -> Result<(), Error> {
    Ok(())
}

#[kest_verified(policy = unchecked("interop/allow"), source_type = "internal", user = text, operation = text)]
fn say(text: &str) -> Result<(), Error> {
    Ok(())
}

/// Escapes, controls, planes, directions, and names whose order tells UTF-16 from code points.
fn texts() -> Value {
    json!({
        "quotes": "\"quoted\" and \\ and / and '",
        "controls": "\u{0}\u{1}\u{8}\t\n\u{b}\u{c}\r\u{1f}\u{7f}\u{80}",
        "separators": "\u{2028}\u{2029}\u{feff}\u{a0}",
        "composed": "\u{c5}ngstr\u{f6}m",
        "decomposed": "A\u{30a}ngstro\u{308}m",
        "planes": "é № 漢 \u{1f600} \u{10ffff} \u{fffd}",
        "directions": "שלום \u{202e}abc\u{202c} مرحبا",
        "html": "<script>&amp;</script>",
        "\u{20ac}": "RFC 8785",
        "\r": "§3.2.3",
        "\u{fb33}": "Hebrew Letter Dalet With Dagesh",
        "\u{1f600}": "Emoji: Grinning Face",
        "1": "One",
        "\u{80}": "Control",
        "\u{f6}": "Latin Small Letter O With Diaeresis",
        "": "no name",
    })
}

/// What RFC 8785 §3.2.2.3 and its appendix B find hard.
fn numbers() -> Value {
    json!([
        0,
        -0.0,
        1,
        -1,
        1.0,
        0.5,
        -2.5e-3,
        1e-6,
        1e-7,
        123_456_789.012_345_67,
        333_333_333.333_333_3,
        1e21,
        1e23,
        5e-324,
        1.797_693_134_862_315_7e308,
        2.225_073_858_507_201_4e-308,
        295_147_905_179_352_825_856.0,
        4.5e15,
        9_007_199_254_740_991_i64,
        -9_007_199_254_740_991_i64,
        0.1,
        0.000_001_234_5,
        1_424_953_923_781_206.2,
        true,
        null
    ])
}

fn nested(depth: u32) -> Value {
    (0..depth).fold(json!([]), |inner, level| json!({ "b": inner, "a": [level, {}, []] }))
}

async fn fork_and_join() {
    begin().await.unwrap();
    let (left, right) = kest::join!(branch("left"), branch("right"));
    left.unwrap();
    right.unwrap();
    let spawned = [kest::spawn(branch("first task")), kest::spawn(branch("second task"))];
    for task in spawned {
        task.await.unwrap().unwrap();
    }
    end().await.unwrap();
}

#[kest_verified(policy = unchecked("interop/allow"), source_type = "system", user = "zoë")]
async fn begin() -> Result<(), Error> {
    Ok(())
}

#[kest_verified(policy = unchecked("interop/allow"), identity = Arc::clone(&*BACK), added_taints = ["forked"], task = name)]
async fn branch(name: &'static str) -> Result<(), Error> {
    tokio::task::yield_now().await;
    leaf(name).await
}

#[kest_verified(policy = unchecked("interop/allow"), identity = Arc::clone(&*CLOUD), operation = name)]
async fn leaf(name: &'static str) -> Result<(), Error> {
    Ok(())
}

#[kest_verified(policy = unchecked("interop/allow"), source_type = "llm")]
async fn stray() -> Result<(), Error> {
    Ok(())
}

#[kest_verified(policy = unchecked("interop/allow"), identity = Arc::clone(&*BACK))]
async fn end() -> Result<(), Error> {
    stray().await
}

#[kest_verified(policy = unchecked("interop/allow"), source_type = "internet", added_taints = ["raw", "tracked", "é", "Z"])]
fn fetch() -> Result<(), Error> {
    Ok(())
}

#[kest_verified(policy = unchecked("interop/allow"), removed_taints = ["raw"], trust_override = 80, sanitizer)]
fn clean() -> Result<(), Error> {
    Ok(())
}

#[kest_verified(policy = unchecked("interop/allow"), identity = Arc::clone(&*BACK), added_taints = ["approved"])]
fn approve() -> Result<(), Error> {
    Ok(())
}

const DEVIATIONS: &str = r#"
[policies]
known = ["corp/freeze", "corp/hours"]
enterprise = ["corp/freeze"]
platform = ["corp/hours"]

[[deviations]]
scope = "interop::workloads::lifted"
policy = "corp/freeze"
tier = "enterprise"
reason = "the „große“ migration \\ 2026"
approver = "ciso@example.org"
"#;

#[kest_verified(policy = unchecked("interop/allow"), source_type = "internal")]
fn lifted() -> Result<(), Error> {
    Ok(())
}

#[kest_verified(policy = unchecked("interop/allow"))]
fn held() -> Result<(), Error> {
    Ok(())
}

#[kest_verified(policy = unchecked("interop/allow"), source_type = "internal", hash_input(item, pieces), record_output)]
async fn priced(item: &str, pieces: u32) -> Result<Value, Error> {
    Ok(json!({ "item": item, "price": f64::from(pieces) * 0.1 }))
}
