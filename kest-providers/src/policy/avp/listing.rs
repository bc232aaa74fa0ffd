//! Which names a policy store has policies for, as `ListPolicies` tells.

use std::collections::HashSet;

use aws_sdk_verifiedpermissions::config::http::HttpResponse;
use aws_sdk_verifiedpermissions::error::SdkError;
use aws_sdk_verifiedpermissions::operation::list_policies::{ListPoliciesError, ListPoliciesOutput};

use super::client::Store;
use crate::policy::cedar_form::ACTION;
use crate::policy::listing::Listing;

/// ListPolicies gives 50 policies a page at most.
const PAGES: usize = 20;

type Error = SdkError<ListPoliciesError, HttpResponse>;

impl Store {
    /// A page of the list.
    pub(super) async fn policies(&self, next: Option<String>) -> Result<ListPoliciesOutput, Error> {
        let page = self.client.list_policies().policy_store_id(&self.id).max_results(50);
        page.set_next_token(next).send().await
    }

    pub(super) async fn listing(&self) -> Result<Listing, Error> {
        let (mut names, mut next) = (HashSet::new(), None);
        for _ in 0..PAGES {
            let page = self.policies(next).await?;
            for policy in page.policies() {
                let actions = policy.actions();
                // For every name, or the list does not say for which.
                if actions.is_empty() {
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
