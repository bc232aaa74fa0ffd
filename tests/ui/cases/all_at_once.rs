use kest::kest_verified;

#[kest_verified(
    policy = ["kest/allow_trsted", "kest/sealed"],
    source_type = "sytem",
    trust_overide = 10,
    removed_taints = ["raw", "raw"],
    labels = {"principal": "me"},
    hash_input(idd),
)]
fn many(id: u32) -> Result<u32, kest::Error> {
    Ok(id)
}

fn main() {}
