//! They point at the body, and a wrong attribute does not hide them.
use kest::kest_verified;

#[kest_verified(policy = "kest/allow_trusted")]
fn wrong_type() -> Result<u32, kest::Error> {
    Ok("text")
}

#[kest_verified(policy = "kest/allow_trusted")]
async fn wrong_type_later(id: u32) -> Result<u32, kest::Error> {
    if id == 0 {
        return Ok("text");
    }
    id
}

#[kest_verified(policy = "kest/unheard_of")]
fn beside_a_wrong_attribute() -> Result<u32, kest::Error> {
    Ok(missing)
}

fn main() {}
