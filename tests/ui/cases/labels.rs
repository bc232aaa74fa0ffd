use kest::kest_verified;

#[kest_verified(
    policy = "kest/allow_trusted",
    labels = {"principal": "me", "trace_id": "0", "kest.user": "a", "team": "risk", "team": "ops", "": "x", "n": 5},
)]
fn labels() -> Result<(), kest::Error> {
    Ok(())
}

fn main() {}
