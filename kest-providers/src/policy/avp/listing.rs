//! Which names a store has policies for.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_verifiedpermissions::config::http::HttpResponse;
use aws_sdk_verifiedpermissions::error::SdkError;
use aws_sdk_verifiedpermissions::operation::list_policies::{ListPoliciesError, ListPoliciesOutput};
use aws_sdk_verifiedpermissions::types::PolicyEffect;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::answer::{self, Asked};
use super::client::{Budget, Store};
use crate::policy::cedar_form::ACTION;

/// What the list of policies says of names.
pub(super) enum Listing {
    /// These names have policies, and no others.
    Names(HashSet<String>),
    /// A policy is for every name.
    Any,
    /// Nothing, and why.
    Unread(String),
}

/// The latest list. It decides between two ways of saying no and nothing else, so it may be a little old.
#[derive(Default)]
pub(super) struct Listings(Mutex<Option<(Instant, Arc<Listing>)>>);

const KEPT: Duration = Duration::from_secs(10);

/// ListPolicies gives 50 policies a page at most.
const PAGES: usize = 20;

type Error = SdkError<ListPoliciesError, HttpResponse>;

impl Listings {
    /// The list, read by one caller for all who wait.
    pub(super) async fn latest(&self, store: &Store, asked: &Asked<'_>, budget: &Budget) -> Arc<Listing> {
        let request = asked.list_policies();
        let late = || Arc::new(Listing::Unread(request.timed_out().message));
        let Some(mut kept) = budget.run(self.0.lock()).await else { return late() };
        if let Some((_, listing)) = kept.as_ref().filter(|(read, _)| read.elapsed() < KEPT) {
            return Arc::clone(listing);
        }
        let listing = match budget.run(store.listing()).await {
            Some(Ok(listing)) => Arc::new(listing),
            Some(Err(error)) => {
                Arc::new(Listing::Unread(answer::failed(&request, store, &error).to_string()))
            }
            None => late(),
        };
        *kept = Some((Instant::now(), Arc::clone(&listing)));
        listing
    }
}

impl Store {
    /// A page of the list.
    pub(super) async fn policies(&self, next: Option<String>) -> Result<ListPoliciesOutput, Error> {
        let page = self.client.list_policies().policy_store_id(&self.id).max_results(50);
        page.set_next_token(next).send().await
    }

    async fn listing(&self) -> Result<Listing, Error> {
        let (mut names, mut next) = (HashSet::new(), None);
        for _ in 0..PAGES {
            let page = self.policies(next).await?;
            for policy in page.policies() {
                let actions = policy.actions();
                // A `forbid` for every name makes none of them a policy that could allow.
                if actions.is_empty() && policy.effect() != Some(&PolicyEffect::Forbid) {
                    return Ok(Listing::Any);
                }
                let own = actions.iter().filter(|action| action.action_type() == ACTION);
                names.extend(own.map(|action| action.action_id().to_owned()));
            }
            next = page.next_token;
            if next.is_none() {
                return Ok(Listing::Names(names));
            }
        }
        Ok(Listing::Unread("the store has more policies than are looked through".to_owned()))
    }
}
