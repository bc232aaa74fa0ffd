//! Cedar in the process, beside `is_authorized` of a request that is ready, its context built from types.

use std::str::FromStr;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, EntityId, EntityTypeName, EntityUid, PolicySet, Request,
    RestrictedExpression,
};
use kest::policy::{CedarEngine, InputDocument};

use super::{CALLS, Text, asked, in_turns};
use crate::Result;
use crate::report::Report;

pub(super) fn measure(report: &mut Report, input: &InputDocument, rounds: usize) -> Result<()> {
    for (call, texts) in CALLS {
        let name = format!("policy/cedar/{call}");
        if !report.wants(&name) {
            continue;
        }
        let engine = CedarEngine::from_sources(texts.iter().map(|text| (text.name, text.cedar)))?;
        let ready = texts.iter().map(ready).collect::<Result<Vec<_>>>()?;
        let (authorizer, entities) = (Authorizer::new(), Entities::empty());
        let floor = || {
            for (request, policies) in &ready {
                let response = authorizer.is_authorized(request, policies, &entities);
                if response.decision() != Decision::Allow {
                    return Err("cedar-policy itself denies".into());
                }
            }
            Ok(())
        };
        report.add(in_turns(name, texts.len(), rounds, || asked(&engine, input, texts), floor)?)?;
    }
    Ok(())
}

/// One policy and the request that it is asked, with what it reads in the context and no more.
fn ready(text: &Text) -> Result<(Request, PolicySet)> {
    let context = match text.name {
        "trusted" => vec![("trust_score", RestrictedExpression::new_long(40))],
        "clerk" => vec![("subject.user.role", RestrictedExpression::new_string("clerk".to_owned()))],
        _ => vec![
            ("object.attributes.amount", RestrictedExpression::new_long(4_200)),
            ("environment.source_type", RestrictedExpression::new_string("user_input".to_owned())),
        ],
    };
    let context = context.into_iter().map(|(name, value)| (name.to_owned(), value));
    let request = Request::new(
        uid("Workload", "spiffe://example.org/shop/orders")?,
        uid("Action", text.name)?,
        uid("Resource", "order-17")?,
        Context::from_pairs(context)?,
        None,
    )?;
    Ok((request, PolicySet::from_str(text.cedar)?))
}

fn uid(kind: &str, id: &str) -> Result<EntityUid> {
    Ok(EntityUid::from_type_name_and_id(EntityTypeName::from_str(kind)?, EntityId::new(id)))
}
