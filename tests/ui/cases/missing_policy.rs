use kest::kest_verified;

#[kest_verified]
fn bare() -> Result<(), kest::Error> {
    Ok(())
}

#[kest_verified(user = "a")]
fn none() -> Result<(), kest::Error> {
    Ok(())
}

#[kest_verified(policy = [])]
fn empty() -> Result<(), kest::Error> {
    Ok(())
}

fn main() {}
