//! The shop: takes orders from customers, and passes them on.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use kest::kest_verified;
use reqwest_middleware::ClientWithMiddleware;
use serde_json::json;

use crate::service::{Failure, Refusal, Service, accepted};
use crate::{Order, Placed, Receipt};

struct Shop {
    orders: String,
    client: ClientWithMiddleware,
}

/// The customer's order comes from outside: trust 40. Who they are the shop knows from their session.
#[kest_verified(
    policy = "shop/order",
    source_type = "user_input",
    user = &order.customer,
    resource_id = &order.id,
    resource_attr = json!({ "amount_cents": order.amount_cents }),
)]
async fn place_order(shop: &Shop, order: &Order) -> Result<Receipt, Refusal> {
    let answer = shop.client.post(format!("http://{}/orders", shop.orders)).json(order).send().await?;
    Ok(accepted(answer).await?.json().await?)
}

async fn orders(State(shop): State<Arc<Shop>>, Json(order): Json<Order>) -> Result<Json<Placed>, Refusal> {
    let receipt = place_order(&shop, &order).await?;
    let passport = kest::get_current_passport().unwrap_or_default().serialize();
    Ok(Json(Placed { receipt, passport }))
}

pub(crate) async fn run() -> Result<(), Failure> {
    let service = Service::start("shop").await?;
    let orders_at = service.addresses.orders.clone();
    let client = service.client(&orders_at, "orders")?;
    let shop = Arc::new(Shop { orders: orders_at, client });
    service.serve(Router::new().route("/", post(orders)).with_state(shop), &[]).await
}
