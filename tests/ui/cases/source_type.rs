use kest::kest_verified;

#[kest_verified(policy = "kest/allow_trusted", source_type = "user_inptu")]
fn misspelt() -> Result<(), kest::Error> {
    Ok(())
}

#[kest_verified(policy = "kest/allow_trusted", origin = "partner_fed")]
fn own() -> Result<(), kest::Error> {
    Ok(())
}

#[kest_verified(policy = "kest/allow_trusted", source_type = "moon")]
fn unlike_any() -> Result<(), kest::Error> {
    Ok(())
}

fn main() {}
