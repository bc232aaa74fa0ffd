//! Lineage across HTTP: what the layers cost a service.

pub(crate) mod client;
pub(crate) mod hostile;
mod issuer;
mod outbound;
mod prefix;
pub(crate) mod requests;
mod services;
mod throughput;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kest::Passport;
use kest::cache::{ClaimCache, ClaimId};
use kest::error::PropagationError;
use kest::http::{Parcel, Wire};
use kest::identity::BoxFuture;

use crate::Result;
use crate::report::Report;

/// Prints the lines `http/…`.
pub(crate) fn measure(report: &mut Report, quick: bool) -> Result<()> {
    prefix::measure(report, quick)?;
    outbound::measure(report, quick)?;
    throughput::measure(report, quick)?;
    hostile::measure(report, if quick { 1_000 } else { 10_000 })
}

/// The `baggage` header that a passport goes in.
fn baggage(wire: &Wire, passport: Passport) -> Result<String> {
    Ok(wire.write_blocking(&Parcel::of(passport), &[])?)
}

/// A cache of claim checks that answers at once, and counts as shared: what is left is the layer.
#[derive(Debug, Default)]
struct Ready(Mutex<Option<Arc<str>>>);

impl ClaimCache for Ready {
    fn put(&self, _: &ClaimId, passport: &str, _: Duration) -> std::result::Result<(), PropagationError> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(passport.into());
        Ok(())
    }

    fn get(&self, _: &ClaimId) -> std::result::Result<Option<Arc<str>>, PropagationError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn put_async<'a>(
        &'a self,
        claim: &'a ClaimId,
        passport: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, std::result::Result<(), PropagationError>> {
        Box::pin(async move { self.put(claim, passport, ttl) })
    }

    fn get_async<'a>(
        &'a self,
        claim: &'a ClaimId,
    ) -> BoxFuture<'a, std::result::Result<Option<Arc<str>>, PropagationError>> {
        Box::pin(async move { self.get(claim) })
    }

    fn is_shared(&self) -> bool {
        true
    }
}
