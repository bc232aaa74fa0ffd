use kest::kest_verified;

#[kest_verified(policy = "kest/allow_trsted")]
fn misspelt() -> Result<(), kest::Error> {
    Ok(())
}

#[kest_verified(policy = ["allow_trusted", "payments-pci/cart", "nothing/like/it"])]
fn more() -> Result<(), kest::Error> {
    Ok(())
}

fn main() {}
