use kest::kest_verified;

struct Account;

#[kest_verified(policy = "kest/allow_trusted")]
impl Account {}

#[kest_verified(policy = "kest/allow_trusted")]
pub struct Order;

#[kest_verified(policy = "kest/allow_trusted")]
const LIMIT: u32 = 5;

#[kest_verified(policy = "kest/allow_trusted")]
const fn constant() -> Result<(), kest::Error> {
    Ok(())
}

#[kest_verified(policy = "kest/allow_trusted")]
extern "C" fn foreign(code: u32) -> u32 {
    code
}

#[kest_verified(policy = "kest/allow_trusted")]
trait Audited {}

trait Store {
    #[kest_verified(policy = "kest/allow_trusted")]
    fn save(&self) -> Result<(), kest::Error>;
}

#[kest_verified(policy = "kest/allow_trusted")]
fn forever() -> ! {
    loop {}
}

#[kest_verified(policy = "kest/allow_trusted")]
fn hidden_future() -> impl Future<Output = Result<(), kest::Error>> {
    std::future::ready(Ok(()))
}

fn main() {
    let _ = LIMIT;
}
