use kest::kest_verified;

#[kest_verified(policy = "kest/allow_trusted", trust_override = 101)]
fn above() -> Result<(), kest::Error> {
    Ok(())
}

#[kest_verified(policy = "kest/allow_trusted", trust_override = -1)]
fn below() -> Result<(), kest::Error> {
    Ok(())
}

#[kest_verified(policy = "kest/allow_trusted", trust_override = 0.5)]
fn fraction() -> Result<(), kest::Error> {
    Ok(())
}

fn main() {}
