use kest::kest_verified;

#[kest_verified(
    policy = 5,
    source_type = 1,
    operation = ["a"],
    classification = 'c',
    added_taints = [1, "x"],
    trust_override = "80",
    sanitizer = true,
    labels = ["team"],
    engine = "rego",
    hash_input = id,
    on_denied = "no",
    crate = "kest",
)]
fn all_wrong(id: u32) -> Result<u32, kest::Error> {
    Ok(id)
}

#[kest_verified(policy = "kest/allow_trusted", user, agent =, labels = {team: "a"}, hash_input(id + 1))]
fn incomplete(id: u32) -> Result<u32, kest::Error> {
    Ok(id)
}

#[kest_verified(policy = "kest/allow_trusted" user = "a", hash_input(), on_denied = || Err(own()))]
fn no_comma(id: u32) -> Result<u32, kest::Error> {
    Ok(id)
}

#[kest_verified(policy = "kest/allow_trusted", user = |id| id, resource_id = id +)]
fn closure_with_argument(id: u32) -> Result<u32, kest::Error> {
    Ok(id)
}

fn main() {}
