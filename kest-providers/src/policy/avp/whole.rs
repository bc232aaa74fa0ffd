//! Whether a decision is all there. The SDK takes lists that are missing for empty ones, and one of two members for the
//! other.

use std::error::Error;
use std::fmt;

use aws_sdk_verifiedpermissions::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_verifiedpermissions::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_verifiedpermissions::error::BoxError;
use kest_core::canonical::parse_strict;
use serde_json::Value;

/// Lets no decision pass that is not whole.
#[derive(Debug)]
pub(super) struct Whole;

impl Intercept for Whole {
    fn name(&self) -> &'static str {
        "KestWhole"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // What is no decision to the SDK is none.
        if context.output_or_error().is_err() {
            return Ok(());
        }
        let body = context.response().body().bytes().unwrap_or_default();
        check(body).map_err(|why| NotWhole(why).into())
    }
}

/// What is wrong with an answer.
#[derive(Debug)]
pub(super) struct NotWhole(pub(super) String);

impl fmt::Display for NotWhole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for NotWhole {}

/// API Reference, IsAuthorized, Response Elements: all of them are required.
fn check(body: &[u8]) -> Result<(), String> {
    let document = parse_strict(body).map_err(|error| format!("it is not usable as JSON ({error})"))?;
    if !document.get("decision").is_some_and(Value::is_string) {
        return Err("it has no `decision` that is a text".to_owned());
    }
    for (list, member) in [("determiningPolicies", "policyId"), ("errors", "errorDescription")] {
        let Some(Value::Array(items)) = document.get(list) else {
            return Err(format!("it has no list `{list}`"));
        };
        if !items.iter().all(|item| item.get(member).is_some_and(Value::is_string)) {
            return Err(format!("an item of its `{list}` has no `{member}` that is a text"));
        }
    }
    Ok(())
}
