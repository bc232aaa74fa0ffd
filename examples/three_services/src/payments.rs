//! The payments service: the call that must be right.

use axum::routing::post;
use axum::{Json, Router};
use kest::kest_verified;
use serde_json::json;

use crate::service::{Failure, Refusal, Service};
use crate::{Order, Receipt};

/// The policy sees for whom: as the shop has signed it, two services ago.
#[kest_verified(
    policy = "shop/charge",
    resource_id = &order.id,
    resource_attr = json!({ "amount_cents": order.amount_cents }),
    hash_input(order),
    record_output
)]
async fn charge(order: Order) -> Result<Receipt, Refusal> {
    Ok(Receipt { order: order.id, charged_cents: order.amount_cents })
}

async fn take(Json(order): Json<Order>) -> Result<Json<Receipt>, Refusal> {
    charge(order).await.map(Json)
}

pub(crate) async fn run() -> Result<(), Failure> {
    let service = Service::start("payments").await?;
    service.serve(Router::new().route("/charge", post(take)), &["orders"]).await
}
