use kest::kest_verified;

#[derive(Debug)]
struct Own;

#[kest_verified(policy = "kest/allow_trusted")]
fn number(id: u32) -> u32 {
    id
}

#[kest_verified(policy = "kest/allow_trusted")]
fn nothing() {}

#[kest_verified(policy = "kest/allow_trusted")]
async fn option(id: u32) -> Option<u32> {
    Some(id)
}

#[kest_verified(policy = "kest/allow_trusted")]
fn own_error() -> Result<u32, Own> {
    Err(Own)
}

#[kest_verified(policy = "kest/allow_trusted")]
async fn own_error_later() -> Result<u32, Own> {
    Err(Own)
}

#[kest_verified(policy = "kest/allow_trusted", on_denied = |error| error.to_string())]
fn wrong_closure(id: u32) -> u32 {
    id
}

fn main() {}
