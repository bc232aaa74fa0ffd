//! Every policy of a store, as `kest policy sync` wants it.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_verifiedpermissions::config::http::HttpResponse;
use aws_sdk_verifiedpermissions::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_verifiedpermissions::types::PolicyDefinitionDetail;
use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use tokio::time::{sleep, timeout};

use super::AvpEngine;
use super::answer;
use super::client::{Budget, FIRST, Shared, Store};
use crate::aws::Request;
use crate::bridge;

/// A policy of a store.
#[doc(hidden)]
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoredPolicy {
    /// Its id in the store.
    pub id: String,
    /// Its text; `None` for one that is linked to a template.
    pub statement: Option<String>,
}

const LIST: &str = "verifiedpermissions:ListPolicies";
const GET: &str = "verifiedpermissions:GetPolicy";

/// 50 policies each.
const MOST_PAGES: usize = 200;

/// For each policy one request is made, faster than AWS likes.
const TRIES: usize = 5;
const PAUSE: Duration = Duration::from_millis(500);

impl AvpEngine {
    /// Every policy of the store, by id. Blocks; credentials have ten seconds, and each answer the time of one decision.
    ///
    /// # Errors
    /// When the store cannot be asked, or has more than 10,000 policies.
    #[doc(hidden)]
    pub fn stored_policies(&self) -> Result<Vec<StoredPolicy>, PolicyUnavailable> {
        let shared = Arc::clone(&self.0);
        bridge::block_on(async move { shared.stored_policies().await }).map_err(answer::not_run)?
    }
}

impl Shared {
    async fn stored_policies(self: &Arc<Self>) -> Result<Vec<StoredPolicy>, PolicyUnavailable> {
        let limit = self.settings().access.timeout;
        let first = Budget::new(FIRST.max(limit));
        let request = Request { action: LIST, place: "AWS", timeout: first.timeout };
        let store = self.ready(&request, &first).await?;
        let (mut policies, mut next) = (Vec::new(), None);
        for _ in 0..MOST_PAGES {
            let request = Request { action: LIST, place: &store.place, timeout: limit };
            let page = answered(&request, store, || store.policies(next.clone())).await?;
            for policy in page.policies() {
                let id = policy.policy_id().to_owned();
                let statement = statement(&id, store, limit).await?;
                policies.push(StoredPolicy { id, statement });
            }
            next = page.next_token;
            if next.is_none() {
                policies.sort_by(|one, other| one.id.cmp(&other.id));
                return Ok(policies);
            }
        }
        let message =
            format!("`{}` has more than {} policies; use several stores", store.id, MOST_PAGES * 50);
        Err(PolicyUnavailable::new(PolicyErrorKind::TooLarge, message))
    }
}

async fn statement(id: &str, store: &Store, limit: Duration) -> Result<Option<String>, PolicyUnavailable> {
    let request = Request { action: GET, place: &store.place, timeout: limit };
    let get = || store.client.get_policy().policy_store_id(&store.id).policy_id(id).send();
    match answered(&request, store, get).await?.definition() {
        Some(PolicyDefinitionDetail::Static(detail)) => Ok(Some(detail.statement().to_owned())),
        Some(PolicyDefinitionDetail::TemplateLinked(_)) => Ok(None),
        _ => Err(PolicyUnavailable::new(
            PolicyErrorKind::MalformedAnswer,
            format!(
                "{} has no definition for the policy `{id}`; check that the endpoint is AWS",
                store.place
            ),
        )),
    }
}

/// An answer in time, asked for again where AWS wants fewer requests.
async fn answered<T, E, F>(
    request: &Request<'_>,
    store: &Store,
    ask: impl Fn() -> F,
) -> Result<T, PolicyUnavailable>
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
{
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let error = match timeout(request.timeout, ask()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => answer::failed(request, store, &error),
            Err(_) => request.timed_out().into(),
        };
        if error.kind() != PolicyErrorKind::Throttled || tries == 0 {
            return Err(error);
        }
        sleep(PAUSE).await;
    }
}
