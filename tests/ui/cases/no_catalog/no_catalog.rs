use kest::kest_verified;

#[kest_verified(policy = "kest/allow_trusted")]
fn first() -> Result<(), kest::Error> {
    Ok(())
}

fn main() {}
