use kest::kest_verified;

struct Opaque;

async fn current_user() -> u32 {
    7
}

#[kest_verified(policy = "kest/allow_trusted", user = current_user())]
async fn forgotten_await() -> Result<(), kest::Error> {
    Ok(())
}

#[kest_verified(policy = "kest/allow_trusted", agent = Opaque)]
fn not_serialisable() -> Result<(), kest::Error> {
    Ok(())
}

#[kest_verified(policy = "kest/allow_trusted", task = order)]
fn not_in_scope() -> Result<(), kest::Error> {
    Ok(())
}

fn main() {}
