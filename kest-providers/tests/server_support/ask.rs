//! Questions to engines.

use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::policy::{Decision, InputDocument, PolicyEngine, PolicyRequest};

pub(crate) const POLICY: &str = "kest/allow_trusted";

pub(crate) type Answer = Result<Decision, PolicyUnavailable>;

/// An input of score 40.
pub(crate) fn document() -> InputDocument {
    serde_json::from_str(r#"{"trust_score": 40, "object": {"attributes": {"amount": 17}}}"#).unwrap()
}

pub(crate) fn ask(engine: &dyn PolicyEngine) -> Answer {
    ask_for(engine, POLICY)
}

pub(crate) fn ask_for(engine: &dyn PolicyEngine, policy: &str) -> Answer {
    engine.evaluate(&PolicyRequest { policy, input: &document().as_input() })
}

pub(crate) async fn ask_async(engine: &dyn PolicyEngine) -> Answer {
    let document = document();
    let input = document.as_input();
    let request = PolicyRequest { policy: POLICY, input: &input };
    engine.evaluate_async(&request).await
}

pub(crate) fn kind(answer: &Answer) -> Option<PolicyErrorKind> {
    answer.as_ref().err().map(PolicyUnavailable::kind)
}

/// What the answer's error says, and what lies under it.
pub(crate) fn said(answer: Answer) -> String {
    let error = answer.unwrap_err();
    format!("{error} {error:?}")
}
