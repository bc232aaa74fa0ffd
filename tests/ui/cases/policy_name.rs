use kest::kest_verified;

const POLICY: &str = "kest/allow_trusted";

#[kest_verified(policy = ["", "kest.allow_trusted", "kest//x", "kest/allow_trusted", "kest/allow_trusted"])]
fn syntax() -> Result<(), kest::Error> {
    Ok(())
}

#[kest_verified(policy = POLICY)]
fn not_a_literal() -> Result<(), kest::Error> {
    Ok(())
}

#[kest_verified(policy = unchecked())]
fn unchecked_nothing() -> Result<(), kest::Error> {
    Ok(())
}

#[kest_verified(policy = unchecked(5))]
fn unchecked_number() -> Result<(), kest::Error> {
    Ok(())
}

fn main() {}
