//! What would run before the policy is asked is refused where it stands.
use std::future::Future;
use std::pin::Pin;

use kest::{Error, kest_verified};

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

fn charge_card() {}

#[kest_verified(policy = "kest/allow_trusted")]
fn pay(n: u32) -> Pin<Box<dyn Future<Output = Result<u32, Error>> + Send>> {
    charge_card();
    if n == 0 {
        return Box::pin(async move {
            charge_card();
            Ok(n)
        });
    }
    Box::pin(async move { Ok(n) })
}

#[kest_verified(policy = "kest/allow_trusted")]
fn initialiser(n: u32) -> impl Future<Output = Result<u32, Error>> {
    let same = n;
    let next = same + 1;
    async move { Ok(next) }
}

#[kest_verified(policy = "kest/allow_trusted")]
fn alias(n: Option<u32>) -> Later<Result<u32, Error>> {
    let Some(n) = n else { return Box::pin(async { Ok(0) }) };
    Box::pin(async move { Ok(n) })
}

#[kest_verified(policy = "kest/allow_trusted")]
fn branches(n: u32) -> Later<Result<u32, Error>> {
    if n == 0 { Box::pin(async { Ok(0) }) } else { Box::pin(async move { Ok(n) }) }
}

trait Own: Future {}
impl<F: Future> Own for F {}

#[kest_verified(policy = "kest/allow_trusted")]
fn unnamed(n: u32) -> impl Own {
    async move { Ok::<_, Error>(n) }
}

fn main() {}
