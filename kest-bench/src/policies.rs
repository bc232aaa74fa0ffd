//! The policy decisions of one call, beside the library's own evaluation of a ready input. Spec §11.

#[cfg(feature = "cedar")]
mod cedar;
#[cfg(feature = "opa")]
mod opa;
mod rego;

use std::hint::black_box;
use std::time::Instant;

use kest::policy::{Decision, InputDocument, PolicyEngine, PolicyInput, PolicyRequest};
use serde_json::json;

use crate::Result;
use crate::clock::{self, median};
use crate::report::{Line, Report};

/// A policy in each language.
#[derive(Debug, Clone, Copy)]
struct Text {
    name: &'static str,
    rego: &'static str,
    #[cfg(feature = "cedar")]
    cedar: &'static str,
}

macro_rules! text {
    ($name:literal, $rego:literal, $cedar:literal) => {
        Text {
            name: $name,
            rego: concat!(
                "package ",
                $name,
                "\nimport rego.v1\ndefault allow := false\nallow if {\n",
                $rego,
                "\n}\n"
            ),
            #[cfg(feature = "cedar")]
            cedar: concat!(
                "permit (principal, action == Action::\"",
                $name,
                "\", resource) when {\n",
                $cedar,
                "\n};\n"
            ),
        }
    };
}

/// One reads a number, one the user, one the object.
const TEXTS: [Text; 3] = [
    text!("trusted", "input.trust_score >= 40", "context.trust_score >= 40"),
    text!(
        "clerk",
        "input.subject.user.role == \"clerk\"",
        "context has \"subject.user.role\" && context[\"subject.user.role\"] == \"clerk\""
    ),
    text!(
        "amount",
        "input.object.attributes.amount <= 5000\ninput.environment.source_type == \"user_input\"",
        "context has \"object.attributes.amount\" && context[\"object.attributes.amount\"] <= 5000 \
         && context has \"environment.source_type\" && context[\"environment.source_type\"] == \"user_input\""
    ),
];

/// What is asked of one call, and the name of the line.
const CALLS: [(&str, &[Text]); 3] = [
    ("1", {
        let [trusted, _, _] = &TEXTS;
        std::slice::from_ref(trusted)
    }),
    ("1-object", {
        let [_, _, amount] = &TEXTS;
        std::slice::from_ref(amount)
    }),
    ("3", &TEXTS),
];

/// Prints the lines of all engines.
pub(crate) fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let rounds = if quick { 500 } else { 40_000 };
    let input = document()?;
    rego::measure(report, &input, rounds)?;
    #[cfg(feature = "cedar")]
    cedar::measure(report, &input, rounds)?;
    #[cfg(feature = "opa")]
    opa::measure(report, &input, if quick { 100 } else { 5_000 })?;
    Ok(())
}

/// What a call says that has everything.
fn document() -> Result<InputDocument> {
    Ok(serde_json::from_value(json!({
        "subject": {
            "workload": "spiffe://example.org/shop/orders",
            "user": {"sub": "alice", "role": "clerk", "department": "finance"},
            "agent": "assistant-7",
            "trust_score": 40,
            "taints": ["contains_pii"],
        },
        "object": {"id": "order-17", "attributes": {"amount": 4200, "currency": "EUR", "priority": true}},
        "environment": {
            "source_type": "user_input",
            "operation": "orders.charge",
            "function": "shop::orders::charge",
            "parent_hashes": ["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
            "inherited_trust_score": 40,
            "policy_names": ["trusted", "clerk", "amount"],
        },
    }))?)
}

/// All policies of a call, asked as the hook asks: of one snapshot, with one input.
fn asked(engine: &dyn PolicyEngine, input: &InputDocument, texts: &[Text]) -> Result<()> {
    let snapshot = engine.snapshot();
    let engine = snapshot.as_deref().unwrap_or(engine);
    input.with_input(|input: &PolicyInput<'_>| {
        for text in texts {
            match engine.evaluate(&PolicyRequest { policy: text.name, input })? {
                Decision::Allow { digest } => drop(black_box(digest)),
                Decision::Deny { .. } => return Err(format!("`{}` denies", text.name).into()),
            }
        }
        Ok(())
    })
}

/// The engine and its floor in turns.
fn in_turns(
    name: String,
    n: usize,
    rounds: usize,
    mut ask: impl FnMut() -> Result<()>,
    mut floor: impl FnMut() -> Result<()>,
) -> Result<Line> {
    let reading = clock::reading();
    let (mut times, mut floors, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds + rounds / 10 {
        let begun = Instant::now();
        ask()?;
        let ns = clock::since(begun) - reading;
        let begun = Instant::now();
        floor()?;
        let floor_ns = clock::since(begun) - reading;
        // The first tenth warms up.
        if round >= rounds / 10 {
            times.push(ns);
            floors.push(floor_ns);
            ratios.push(ns / floor_ns);
        }
    }
    let (ns, floor_ns) = (median(times), median(floors));
    Ok(Line {
        name,
        n,
        threads: 1,
        ns: Some(ns),
        floor_ns: Some(floor_ns),
        ratio: Some(median(ratios)),
        added_ns: Some(ns - floor_ns),
        ..Line::default()
    })
}
