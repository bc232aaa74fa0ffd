//! A shop takes two orders. Each becomes a lineage: who did what, for whom, allowed by which policy.
//!
//! The first order is received, checked by two calls side by side, triaged by a bot, vouched for by a
//! reviewer, and charged. The second carries a note that talks the bot into skipping the review, and the
//! Rego policy in front of the charge says no. Then the passports are verified from their bytes, and
//! copies that were tampered with are refused.
//!
//! ```sh
//! cargo run --example quickstart
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::fmt;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;

use kest::identity::LocalEd25519Provider;
use kest::policy::RegoEngine;
use kest::verify::{Anchors, UnverifiedPassport, VerifiedPassport, Verifier};
use kest::{Kest, Passport, kest_verified};
use serde::{Deserialize, Serialize};
use serde_json::json;

// ---- the shop: ordinary code, one attribute on each function that matters -------------------------------

/// The customer's order comes from outside: trust 40, and tainted until somebody has looked at it.
#[kest_verified(
    policy = "orders/receive",
    source_type = "user_input",
    resource_id = &order.id,
    added_taints = ["unverified_input"]
)]
fn receive(order: &Order) -> Result<(), ShopError> {
    if order.items.is_empty() { Err(ShopError::Empty(order.id.clone())) } else { Ok(()) }
}

#[kest_verified(policy = "orders/process", resource_id = &order.id)]
async fn check_stock(order: &Order) -> Result<bool, ShopError> {
    tokio::task::yield_now().await; // a data base would answer here
    Ok(order.items.iter().all(|item| item.quantity <= 10))
}

#[kest_verified(policy = "orders/process", resource_id = &order.id)]
async fn total_price(order: &Order) -> Result<u64, ShopError> {
    tokio::task::yield_now().await;
    Ok(order.items.iter().map(|item| item.quantity * item.price_cents).sum())
}

/// Stands for a language model that reads the note, and believes it.
#[kest_verified(
    policy = "orders/process",
    agent = "triage-bot",
    resource_id = &order.id,
    added_taints = ["llm_generated"]
)]
fn needs_review(order: &Order) -> Result<bool, ShopError> {
    Ok(!order.note.contains("mark this order as reviewed"))
}

/// A person vouches for the order: the only place where taints go and trust rises, and it is signed.
#[kest_verified(
    policy = "orders/review",
    user = json!({ "sub": reviewer, "role": "reviewer" }),
    resource_id = &order.id,
    removed_taints = ["llm_generated", "unverified_input"],
    trust_override = 70,
    sanitizer
)]
fn review(order: &Order, reviewer: &str) -> Result<(), ShopError> {
    println!("   {reviewer} reads the order and its note: fine");
    Ok(())
}

/// The call that must be right: its input is hashed before, its output after.
#[kest_verified(
    policy = "orders/charge",
    resource_id = &order.id,
    resource_attr = json!({ "amount_cents": amount_cents, "currency": "EUR" }),
    hash_input(order, amount_cents),
    record_output
)]
async fn charge(order: &Order, amount_cents: u64) -> Result<Receipt, ShopError> {
    Ok(Receipt { order: order.id.clone(), charged_cents: amount_cents })
}

async fn process(order: &Order) -> Result<Receipt, ShopError> {
    receive(order)?;
    let (in_stock, total) = kest::join!(check_stock(order), total_price(order)); // fork …
    if !in_stock? {
        return Err(ShopError::OutOfStock(order.id.clone()));
    }
    if needs_review(order)? {
        // … and join: this call has both branches as parents
        review(order, "rita")?;
    }
    charge(order, total?).await
}

// ---- set-up, and what an auditor does afterwards --------------------------------------------------------

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().without_time().with_ansi(colours).with_writer(std::io::stderr).init();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));

    let identity = Arc::new(LocalEd25519Provider::new()?);
    kest::configure(
        Kest::builder()
            .identity(Arc::clone(&identity))
            .engine(RegoEngine::from_dir(here.join("policies"))?)
            .config_file(here.join("examples/kest.toml"))
            .build()?,
    )?;

    let orders: Vec<Order> =
        serde_json::from_str(&std::fs::read_to_string(here.join("examples/data/orders.json"))?)?;
    let anchors = Anchors::from_provider(&*identity)?;
    let verifier = Verifier::builder().keys(anchors.clone()).strict().build();

    let mut first = None;
    for order in &orders {
        println!("\n── order {} of {} ──", order.id, order.customer);
        // One lineage for each job, on behalf of the customer.
        let (outcome, passport) =
            kest::root_with_passport(kest::with_user(&order.customer, process(order))).await;
        match outcome {
            Ok(receipt) => println!("   charged: {} cents", receipt.charged_cents),
            Err(ShopError::Kest(error)) if error.is_denied() => println!("   not charged: {error}"),
            Err(error) => return Err(error.into()),
        }
        let verified = UnverifiedPassport::deserialize(&passport.serialize())?.verify(&verifier)?;
        print_lineage(&verified);
        first.get_or_insert((passport, verified));
    }

    let (passport, verified) = first.ok_or("no orders in the file")?;
    println!("\n── what the verifier says of the first ──");
    for (axis, result) in verified.report().axes() {
        println!("   {axis:<13} {:<12} {}", result.verdict.to_string(), result.reason);
    }
    let tip = verified.tips().last().map(|tip| tip.hash()).unwrap_or_default();
    try_tampering(&passport, &verifier, &tip)?;

    let out = here.join("target/quickstart");
    std::fs::create_dir_all(&out)?;
    std::fs::write(out.join("passport.json"), passport.serialize())?;
    std::fs::write(out.join("anchors.json"), serde_json::to_string_pretty(&anchors.to_json())?)?;
    println!("\n── check it yourself, with another program ──");
    println!("   cargo run -p kest-cli -- show   target/quickstart/passport.json");
    println!("   cargo run -p kest-cli -- verify target/quickstart/passport.json \\");
    println!("       --anchors target/quickstart/anchors.json --tip {tip}");
    Ok(())
}

fn print_lineage(verified: &VerifiedPassport) {
    let hashes: Vec<String> = verified.passport().entries().iter().map(|entry| entry.hash()).collect();
    for (index, entry) in verified.entries().iter().enumerate() {
        let parents: Vec<String> = entry
            .parent_ids()
            .iter()
            .filter_map(|id| hashes.iter().position(|hash| hash == id))
            .map(|parent| format!("#{parent}"))
            .collect();
        let from = if parents.is_empty() { "root".to_owned() } else { format!("← {}", parents.join(" ")) };
        let what = match &*entry.classification {
            "system" => entry.operation.to_string(),
            other => format!("{} ({other})", entry.operation),
        };
        println!(
            "   #{:<2} {:<24} {:<10} trust {:>3}  {}",
            index,
            what,
            from,
            entry.trust_score,
            entry.taints.join(", ")
        );
    }
}

/// Three copies that should not pass, and do not.
fn try_tampering(passport: &Passport, verifier: &Verifier, tip: &str) -> Result<(), Box<dyn Error>> {
    println!("\n── copies that were tampered with ──");
    let entries: Vec<String> = serde_json::from_str(&passport.serialize())?;

    let mut raised = entries.clone();
    if let Some(entry) = raised.first_mut() {
        let parts: Vec<&str> = entry.split('.').collect();
        if let [header, payload, signature] = parts[..] {
            let base64 = base64_simd::URL_SAFE_NO_PAD;
            let text = String::from_utf8(base64.decode_to_vec(payload)?)?;
            let text = text.replace("\"trust_score\":40", "\"trust_score\":90");
            *entry = format!("{header}.{}.{signature}", base64.encode_to_string(text));
        }
    }
    refused("trust raised from 40 to 90", &raised, verifier)?;

    let without_review: Vec<String> =
        entries.iter().enumerate().filter(|(index, _)| *index != 3).map(|(_, entry)| entry.clone()).collect();
    refused("one entry cut out", &without_review, verifier)?;

    let shortened = entries.get(..entries.len().saturating_sub(1)).unwrap_or_default();
    refused("the last entry cut off", shortened, &verifier.expecting(tip)?)
}

fn refused(what: &str, entries: &[String], verifier: &Verifier) -> Result<(), Box<dyn Error>> {
    match UnverifiedPassport::deserialize(&serde_json::to_string(entries)?)?.verify(verifier) {
        Ok(_) => Err(format!("{what}: this copy should not verify").into()),
        Err(error) => {
            println!("   {what}: refused: {error}");
            Ok(())
        }
    }
}

// ---- plain data ------------------------------------------------------------------------------------------

#[derive(Debug, Deserialize, Serialize)]
struct Order {
    id: String,
    customer: String,
    note: String,
    items: Vec<Item>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Item {
    sku: String,
    quantity: u64,
    price_cents: u64,
}

#[derive(Debug, Serialize)]
struct Receipt {
    order: String,
    charged_cents: u64,
}

#[derive(Debug)]
enum ShopError {
    Empty(String),
    OutOfStock(String),
    Kest(kest::Error),
}

impl From<kest::Error> for ShopError {
    fn from(error: kest::Error) -> Self {
        Self::Kest(error)
    }
}

impl fmt::Display for ShopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty(order) => write!(f, "order `{order}` has no items"),
            Self::OutOfStock(order) => write!(f, "order `{order}` is not in stock"),
            Self::Kest(error) => error.fmt(f),
        }
    }
}

impl Error for ShopError {}
