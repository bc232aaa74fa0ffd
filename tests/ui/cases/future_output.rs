//! The value of a future that an alias names is judged like any other.
use std::future::Future;
use std::pin::Pin;

use kest::{Error, kest_verified};

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

#[kest_verified(policy = "kest/allow_trusted")]
fn no_result(n: u32) -> Later<u32> {
    Box::pin(async move { n })
}

#[kest_verified(policy = "kest/allow_trusted")]
fn wrong_value() -> Later<Result<u32, Error>> {
    Box::pin(async move { Ok("text") })
}

#[kest_verified(policy = "kest/allow_trusted")]
fn no_future(n: u32) -> Result<u32, Error> {
    Box::pin(async move { Ok(n) })
}

fn main() {}
