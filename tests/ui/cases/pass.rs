//! What the catalog knows compiles, in every way it can know it.
use kest::kest_verified;

const FEED: &str = "registered_at_start";

#[kest_verified(
    policy = ["kest/allow_trusted", "kest/sealed", "remote/quota", "payments-pci/card"],
    source_type = "partner_feed",
)]
fn known(id: u32) -> Result<u32, kest::Error> {
    Ok(id)
}

#[kest_verified(policy = unchecked(["made/up", "at/run-time"]), source_type = FEED)]
fn unchecked_names(id: u32) -> Result<u32, kest::Error> {
    Ok(id)
}

fn main() {}
