//! Three services, three processes, one lineage.
//!
//! A customer orders at the shop; the shop calls the orders service, and that one the payments service. Nothing is
//! passed on by hand: the lineage goes along with each call, is verified before anything runs, and comes back with
//! what was done. In the end one passport spans all three, and anybody who has their public keys can check it. Then
//! somebody tries to be charged for by other ways, and is refused.
//!
//! ```sh
//! cargo run -p three-services
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

mod orders;
mod payments;
mod service;
mod shop;

use std::env;
use std::path::Path;
use std::process::Stdio;

use kest::keys::Jwks;
use kest::verify::{Anchors, UnverifiedPassport, VerifiedPassport, Verifier};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::service::{Addresses, Failure, workload};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    id: String,
    customer: String,
    amount_cents: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Receipt {
    order: String,
    charged_cents: u64,
}

/// What the shop answers: the receipt, and what the order has left behind at all three services.
#[derive(Debug, Serialize, Deserialize)]
struct Placed {
    receipt: Receipt,
    passport: String,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    match env::args().nth(1).as_deref() {
        None => walk_through().await,
        Some("shop") => shop::run().await,
        Some("orders") => orders::run().await,
        Some("payments") => payments::run().await,
        Some(other) => Err(format!("no service is called `{other}`; run without arguments").into()),
    }
}

async fn walk_through() -> Result<(), Failure> {
    let (addresses, _services) = start_all().await?;
    let http = reqwest::Client::new();

    println!("\n── alice orders at the shop ──");
    let order = json!({ "id": "order-17", "customer": "alice", "amount_cents": 12900 });
    let answer = http.post(format!("http://{}/", addresses.shop)).json(&order).send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    if !status.is_success() {
        return Err(format!("the shop answered {status}: {text}").into());
    }
    let Placed { receipt, passport } = serde_json::from_str(&text)?;
    println!("   charged: {} cents for {}", receipt.charged_cents, receipt.order);

    println!("\n── what an auditor makes of it, with the public keys of the three ──");
    let anchors = anchors(&http, &addresses).await?;
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/three-services");
    std::fs::create_dir_all(&out)?;
    std::fs::write(out.join("anchors.json"), anchors.to_json().to_string())?;
    std::fs::write(out.join("passport.json"), &passport)?;
    let verifier = Verifier::builder().keys(anchors).strict().build();
    let passport = UnverifiedPassport::deserialize(&passport)?;
    let verified = passport.clone().verify(&verifier)?;
    let hashes: Vec<String> = passport.decode_unverified().map(|(hash, _)| hash).collect();
    print_lineage(&verified, &hashes);
    for (axis, result) in verified.report().axes() {
        println!("   {axis:<13} {:<12} {}", result.verdict.to_string(), result.reason);
    }

    println!("\n── mallory tries other ways to a charge ──");
    let charge = format!("http://{}/charge", addresses.payments);
    let attempt = |baggage: String| {
        let request =
            http.post(&charge).json(&json!({ "id": "order-18", "customer": "mallory", "amount_cents": 100 }));
        request.header("baggage", baggage).send()
    };
    let of_the_shop = passport.entries().next().unwrap_or_default();
    // One bit of the signature.
    let (rest, last) = of_the_shop.split_at(of_the_shop.len() - 1);
    let altered = format!("{rest}{}", if last == "A" { "Q" } else { "A" });
    for (how, baggage) in [
        ("by saying so: `kest.user=alice`", "kest.user=alice".to_owned()),
        ("with the shop's entry, as if the shop had called", as_baggage(of_the_shop)),
        ("with the shop's entry, altered", as_baggage(&altered)),
    ] {
        let answer = attempt(baggage).await?;
        let (status, text) = (answer.status(), answer.text().await?);
        println!("   {how}:\n     {status}: {text}");
        if status.is_success() {
            return Err("mallory was charged for".into());
        }
    }
    println!("\nLook at it again: cargo run -p kest-cli -- show target/three-services/passport.json");
    Ok(())
}

/// An entry the way it travels.
fn as_baggage(jws: &str) -> String {
    let lineage = UnverifiedPassport::from_iter([jws]);
    let tip = lineage.decode_unverified().map(|(hash, _)| hash).collect::<String>();
    format!("kest.passport={},kest.chain_tip={tip}", lineage.serialize().replace('"', "%22"))
}

/// The processes, which end with this one.
async fn start_all() -> Result<(Addresses, Vec<Child>), Failure> {
    let mut services = Vec::new();
    let mut found = Vec::new();
    for name in ["shop", "orders", "payments"] {
        let mut child = Command::new(env::current_exe()?)
            .arg(name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let address = BufReader::new(stdout).lines().next_line().await?;
        let address = address.ok_or_else(|| format!("{name} did not start"))?;
        println!("{name:<9} process {:<7} http://{address}", child.id().unwrap_or_default());
        found.push(address);
        services.push(child);
    }
    let [shop, orders, payments] = <[String; 3]>::try_from(found).map_err(|_| "three services")?;
    let addresses = Addresses { shop, orders, payments };
    let line = format!("{}\n", serde_json::to_string(&addresses)?);
    for service in &mut services {
        let mut stdin = service.stdin.take().ok_or("no standard input")?;
        stdin.write_all(line.as_bytes()).await?;
    }
    Ok((addresses, services))
}

/// The keys that the services publish.
async fn anchors(http: &reqwest::Client, addresses: &Addresses) -> Result<Anchors, Failure> {
    let Addresses { shop, orders, payments } = addresses;
    let mut anchors = Anchors::new();
    for (name, address) in [("shop", shop), ("orders", orders), ("payments", payments)] {
        let url = format!("http://{address}/.well-known/jwks.json");
        let keys: Value = http.get(url).send().await?.error_for_status()?.json().await?;
        anchors.insert(&workload(name), Jwks::from_json(&keys)?)?;
    }
    Ok(anchors)
}

fn print_lineage(verified: &VerifiedPassport, hashes: &[String]) {
    for (index, entry) in verified.entries().iter().enumerate() {
        let parents: Vec<String> = entry
            .parent_ids()
            .iter()
            .filter_map(|parent| hashes.iter().position(|hash| hash == parent))
            .map(|parent| (parent + 1).to_string())
            .collect();
        let after = if parents.is_empty() { String::new() } else { format!(" after {}", parents.join(", ")) };
        let on_behalf = entry.label("kest.identity").unwrap_or("{}");
        println!(
            "   {}{after:<11} {:<19} {:<31} trust {:<4} for {on_behalf}",
            index + 1,
            match &*entry.classification {
                "completion" => format!("{} (output)", entry.operation),
                _ => entry.operation.to_string(),
            },
            entry.principal(),
            entry.trust_score,
        );
    }
}
