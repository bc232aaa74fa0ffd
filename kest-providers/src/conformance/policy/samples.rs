//! The sample policies, and what they must answer.

use kest_core::policy::InputDocument;
use serde_json::{Value, json};

use crate::policy::cases::{CaseTable, CaseTableError, Expected};

/// A policy that says the same in Rego and in Cedar.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Sample {
    /// Its name, such as `conformance/trusted`.
    pub name: &'static str,
    /// Its Rego text: `package conformance.trusted`.
    pub rego: &'static str,
    /// Its Cedar text, of Cedar 2.4 and on. Every statement is scoped to `Action::"<name>"`, so the texts of all
    /// samples can stand in one store.
    pub cedar: &'static str,
    cases: &'static str,
}

impl Sample {
    /// The statements of [`Self::cedar`], for stores that hold each by itself.
    pub fn cedar_statements(&self) -> impl Iterator<Item = &'static str> {
        self.cedar.split("\n\n").map(str::trim)
    }

    /// What the policy must answer.
    ///
    /// # Errors
    /// As for [`CaseTable::parse`].
    pub fn cases(&self) -> Result<CaseTable, CaseTableError> {
        CaseTable::parse(self.cases)
    }
}

macro_rules! samples {
    ($($name:literal)*) => {
        &[$(Sample {
            name: $name,
            rego: include_str!(concat!("samples/", $name, ".rego")),
            cedar: include_str!(concat!("samples/", $name, ".cedar")),
            cases: include_str!(concat!("samples/", $name, ".cases")),
        }),*]
    };
}

/// The policies that an engine must hold to be [checked](super::check).
#[must_use]
pub fn samples() -> &'static [Sample] {
    samples! {
        "conformance" "conformance/amounts" "conformance/delegated" "conformance/fails/forbid"
        "conformance/fails/permit" "conformance/lineage" "conformance/names" "conformance/nested"
        "conformance/overrides" "conformance/taints" "conformance/texts" "conformance/tiers"
        "conformance/trusted" "conformance/undefined" "conformance/user"
    }
}

/// One question to an engine.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) policy: &'static str,
    pub(super) name: String,
    pub(super) input: InputDocument,
    pub(super) wanted: Wanted,
}

/// The answer that a [`Question`] must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Allow,
    Deny,
    /// An error of kind `Evaluation`.
    Fails,
    /// This answer, or an error of kind `Input` from an engine that cannot hold the input.
    InputOr(Held),
}

/// What an engine answers that can hold the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    Allow,
    Deny,
}

/// Every question of the suite.
pub(super) fn questions() -> Result<Vec<Question>, String> {
    let mut all = Vec::new();
    for sample in samples() {
        let table = sample.cases().map_err(|error| format!("{}: {error}", sample.name))?;
        all.extend(table.cases().iter().map(|case| Question {
            policy: sample.name,
            name: case.name.clone(),
            input: case.input.clone(),
            wanted: match case.expected {
                Expected::Allow => Wanted::Allow,
                Expected::Deny { .. } => Wanted::Deny,
                Expected::Error | Expected::Refused => Wanted::Fails,
            },
        }));
    }
    for (policy, name, input, wanted) in made() {
        let input = serde_json::from_value(input).map_err(|error| format!("{policy}, {name}: {error}"))?;
        all.push(Question { policy, name: name.to_owned(), input, wanted });
    }
    Ok(all)
}

/// Questions that are too long for a table, or that not every engine can hold.
fn made() -> Vec<(&'static str, &'static str, Value, Wanted)> {
    let (amounts, texts, taints) = ("conformance/amounts", "conformance/texts", "conformance/taints");
    let attributes = |attributes: Value| json!({"object": {"attributes": attributes}});
    let paid = |amount: Value, limit: Value, currencies: Value| {
        attributes(json!({"paid": true, "amount": amount, "limit": limit, "currencies": currencies}))
    };
    let two = |a: &str, b: &str| attributes(json!({"text": a, "the \"same\" \\ text ✓": b}));
    let long = "ab✓ ".repeat(2_500);
    let many = |last: &str| {
        let mut taints: Vec<String> = (100..400).map(|n| format!("taint-{n}")).collect();
        taints.push(last.to_owned());
        taints.sort();
        json!({"subject": {"taints": taints}})
    };
    let held = Wanted::InputOr;
    vec![
        (texts, "a long text", two(&long, &long), Wanted::Allow),
        (texts, "a long text and its beginning", two(&long, long.trim_end()), Wanted::Deny),
        (taints, "many taints", many("harmless"), Wanted::Allow),
        (taints, "many taints and the one", many("contains_pii"), Wanted::Deny),
        (amounts, "a fraction below", paid(json!(0.5), json!(1), json!(["EUR"])), held(Held::Allow)),
        (amounts, "a fraction above", paid(json!(1.5), json!(1), json!(["EUR"])), held(Held::Deny)),
        (
            amounts,
            "one over a number that doubles cannot tell from it",
            paid(json!(9_007_199_254_740_993_u64), json!(9_007_199_254_740_992_u64), json!(["EUR"])),
            held(Held::Deny),
        ),
        (amounts, "null in an array", paid(json!(1), json!(2), json!([null, "EUR"])), held(Held::Allow)),
        (
            amounts,
            "a fraction that the policy does not read",
            attributes(
                json!({"paid": true, "amount": 1, "limit": 2, "currencies": ["EUR"], "rates": {"eur": [0.25]}}),
            ),
            held(Held::Allow),
        ),
        (
            amounts,
            "an object in the form of Cedar's entities",
            attributes(json!({"paid": true, "amount": 1, "limit": 2, "currencies": ["EUR"],
                "owner": {"__entity": {"type": "Workload", "id": "w"}}})),
            held(Held::Allow),
        ),
    ]
}

/// Names that no sample has. Not one may be answered with a decision.
pub(super) const UNKNOWN: [&str; 6] = [
    "conformance/absent",
    "conformance/trust",
    "conformance/trusted_too",
    "conformance/trusted/more",
    "conformanc",
    "other/trusted",
];

/// What is no policy name at all, or reads as a known one to who is careless with paths.
pub(super) const NO_NAMES: [&str; 17] = [
    "",
    "/",
    ".",
    "..",
    "conformance/",
    "/conformance",
    "conformance//trusted",
    "conformance/trusted/",
    "conformance/./trusted",
    "conformance/fails/../trusted",
    "conformance.trusted",
    "conformance/trusted/allow",
    "conformance%2Ftrusted",
    "conformance/trusted?x=1",
    "conformance/trusted#x",
    "Conformance/Trusted",
    "conformance/trusted\" || true || \"",
];

/// A folder of policies that is none itself. A server that gives the folder's content has no `allow` in it, and may take
/// that for an undefined rule: a denial.
pub(super) const FOLDER: &str = "conformance/fails";
