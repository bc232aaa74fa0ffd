use kest::kest_verified;

#[kest_verified(polcy = "kest/allow_trusted")]
fn misspelt() -> Result<(), kest::Error> {
    Ok(())
}

#[kest_verified(policy = "kest/allow_trusted", santizer, flavour = 3)]
fn flag_and_nonsense() -> Result<(), kest::Error> {
    Ok(())
}

fn main() {}
