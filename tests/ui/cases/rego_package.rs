use kest::kest_verified;

#[kest_verified(policy = "kest/moved")]
fn moved() -> Result<(), kest::Error> {
    Ok(())
}

fn main() {}
