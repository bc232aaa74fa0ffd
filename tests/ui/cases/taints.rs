use kest::kest_verified;

#[kest_verified(policy = "kest/allow_trusted", added_taints = ["", "pii", "pii"])]
fn empty_and_repeated() -> Result<(), kest::Error> {
    Ok(())
}

#[kest_verified(policy = "kest/allow_trusted", added_taints = ["pii"], removed_taints = ["raw", "pii", "raw"], sanitizer)]
fn both_ways() -> Result<(), kest::Error> {
    Ok(())
}

#[kest_verified(policy = "kest/allow_trusted", removed_taints = ["raw"])]
fn undeclared() -> Result<(), kest::Error> {
    Ok(())
}

#[kest_verified(policy = "kest/allow_trusted", added_taints = [])]
fn none() -> Result<(), kest::Error> {
    Ok(())
}

fn main() {}
