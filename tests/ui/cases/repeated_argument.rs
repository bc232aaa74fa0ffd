use kest::kest_verified;

#[kest_verified(policy = "kest/allow_trusted", user = "a", policy = "kest/sealed", sanitizer, sanitizer)]
fn twice() -> Result<(), kest::Error> {
    Ok(())
}

#[kest_verified(policy = "kest/allow_trusted", source_type = "internal", origin = "system")]
fn alias() -> Result<(), kest::Error> {
    Ok(())
}

fn main() {}
