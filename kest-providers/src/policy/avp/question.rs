//! A request in the words of Verified Permissions.

use std::collections::HashMap;

use aws_sdk_verifiedpermissions::types::AttributeValue;
use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::policy::PolicyRequest;

use crate::policy::cedar_form::{self, CedarRecord, CedarValue};
use crate::policy::name;

/// What is sent, owned: it outlives the call that asks.
pub(super) struct Question {
    pub(super) policy: String,
    pub(super) principal: String,
    pub(super) resource: String,
    pub(super) context: Members,
}

type Members = HashMap<String, AttributeValue>;

/// The context, made once for all policies of a call and tier.
struct Context(Result<Members, (PolicyErrorKind, String)>);

impl Question {
    /// # Errors
    /// When the name is none, or the input holds what a Cedar context cannot.
    pub(super) fn new(request: &PolicyRequest<'_>) -> Result<Self, PolicyUnavailable> {
        let policy = name::checked(request.policy)?.to_owned();
        let input = request.input;
        let context = input.shared(|| {
            let context = cedar_form::context(input);
            Context(context.map(members).map_err(|error| (error.kind(), error.to_string())))
        });
        let context = context.0.clone().map_err(|(kind, why)| PolicyUnavailable::new(kind, why))?;
        Ok(Self {
            policy,
            principal: cedar_form::principal(input).to_owned(),
            resource: cedar_form::resource(input).to_owned(),
            context,
        })
    }
}

fn members(record: CedarRecord<'_>) -> Members {
    record.into_iter().map(|(key, value)| (key.into_owned(), attribute(value))).collect()
}

fn attribute(value: CedarValue<'_>) -> AttributeValue {
    match value {
        CedarValue::Bool(bool) => AttributeValue::Boolean(bool),
        CedarValue::Long(long) => AttributeValue::Long(long),
        CedarValue::String(text) => AttributeValue::String(text.to_owned()),
        CedarValue::Set(items) => AttributeValue::Set(items.into_iter().map(attribute).collect()),
        CedarValue::Record(record) => AttributeValue::Record(members(record)),
    }
}
