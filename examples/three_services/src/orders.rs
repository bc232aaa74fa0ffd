//! The orders service: reserves stock and has the order paid, side by side.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use kest::kest_verified;
use reqwest_middleware::ClientWithMiddleware;

use crate::service::{Failure, Refusal, Service, accepted};
use crate::{Order, Receipt};

struct Orders {
    payments: String,
    client: ClientWithMiddleware,
}

/// On whose behalf? The attribute does not say: it is what the shop has signed.
#[kest_verified(policy = "shop/accept", resource_id = &order.id)]
async fn accept(orders: &Orders, order: &Order) -> Result<Receipt, Refusal> {
    let (reserved, receipt) = kest::join!(reserve(order), pay(orders, order)); // fork …
    reserved?;
    let receipt = receipt?;
    confirm(&receipt)?; // … and join: comes after both, though one of them ran elsewhere
    Ok(receipt)
}

#[kest_verified(policy = "shop/accept", resource_id = &order.id)]
async fn reserve(order: &Order) -> Result<(), Refusal> {
    tokio::task::yield_now().await; // a data base would answer here
    Ok(())
}

async fn pay(orders: &Orders, order: &Order) -> Result<Receipt, Refusal> {
    let answer = orders.client.post(format!("http://{}/charge", orders.payments)).json(order).send().await?;
    Ok(accepted(answer).await?.json().await?)
}

#[kest_verified(policy = "shop/accept", resource_id = &receipt.order)]
fn confirm(receipt: &Receipt) -> Result<(), Refusal> {
    Ok(())
}

async fn take(State(orders): State<Arc<Orders>>, Json(order): Json<Order>) -> Result<Json<Receipt>, Refusal> {
    accept(&orders, &order).await.map(Json)
}

pub(crate) async fn run() -> Result<(), Failure> {
    let service = Service::start("orders").await?;
    let payments = service.addresses.payments.clone();
    let client = service.client(&payments, "payments")?;
    let orders = Arc::new(Orders { payments, client });
    service.serve(Router::new().route("/orders", post(take)).with_state(orders), &["shop"]).await
}
