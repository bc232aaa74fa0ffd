use kest::kest_verified;

struct Account {
    id: u32,
}

impl Account {
    #[kest_verified(policy = "kest/allow_trusted", hash_input(self, amuont, amount, amount))]
    fn pay(&self, amount: u32) -> Result<u32, kest::Error> {
        Ok(self.id + amount)
    }
}

#[kest_verified(policy = "kest/allow_trusted", hash_input(id))]
fn none() -> Result<(), kest::Error> {
    Ok(())
}

fn main() {}
