//! The functions of the examples in `docs/cli.md`. Nothing compiles them.

use kest::kest_verified;

/// Pays an order back.
#[kest_verified(policy = "orders/refund", source_type = "user_input", resource_id = id)]
pub fn refund(id: u64) -> Result<(), kest::Error> {
    println!("refunded {id}");
    Ok(())
}

/// Cancels an order.
#[kest_verified(policy = "orders/refnd", source_type = "user_input")]
pub fn cancel() -> Result<(), kest::Error> {
    Ok(())
}
