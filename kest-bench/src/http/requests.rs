//! Requests that nobody measures, for a profiler.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use kest::http::Wire;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use super::issuer::Issuer;
use super::{baggage, services};
use crate::Result;
use crate::chain::{Engine, Maker};

/// So many requests, each with a lineage of its own, to a service in this process and without sockets.
pub(crate) fn requests(count: usize, entries: usize, by_hand: bool) -> Result<()> {
    let maker = Maker::new(Engine::AllowAll)?;
    kest::reconfigure(maker.kest.clone())?;
    let wire = Wire::default();
    let baggages =
        (0..count).map(|_| baggage(&wire, maker.passport(entries)?)).collect::<Result<Vec<_>>>()?;
    kest::clear();
    Runtime::new()?.block_on(async {
        let issuer = Issuer::start().await?;
        let service = match by_hand {
            true => services::by_hand(&maker, &issuer)?,
            false => services::layered(&maker, &issuer)?,
        };
        let token = format!("Bearer {}", issuer.token()?);
        for baggage in &baggages {
            let request = Request::builder()
                .header("authorization", &token)
                .header("baggage", baggage)
                .body(Body::empty())?;
            let answer = service.clone().oneshot(request).await?;
            if answer.status() != StatusCode::OK {
                return Err(format!("the service answered {}", answer.status()).into());
            }
            axum::body::to_bytes(answer.into_body(), 1_024).await?;
        }
        Ok(())
    })
}
