//! `CedarAgentEngine` with a real cedar-agent, which speaks Cedar 2.4. Spec §11.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use kest::conformance::policy::{check_with, samples};
use kest::error::PolicyErrorKind;
use kest::policy::{CedarAgentEngine, CedarAgentEngineBuilder, CedarEngine, InputDocument};
use kest_lab::{CedarAgent, Lab, Verdict, agree, ask, is_whole, library, library_folder, statements};
use serde_json::json;

/// How long an answer may take where the time is not the subject: the machine may be a busy one.
const PATIENT: Duration = Duration::from_secs(30);

fn builder(agent: &CedarAgent) -> CedarAgentEngineBuilder {
    CedarAgentEngine::builder().url(agent.url()).timeout(PATIENT)
}

fn score(score: u8) -> InputDocument {
    serde_json::from_value(json!({"trust_score": score})).unwrap()
}

/// `gate/score` allows from a score on.
fn gate(agent: &CedarAgent, score: u8) {
    let text = format!(
        "permit(principal, action == Action::\"gate/score\", resource) \
         when {{ context[\"subject.trust_score\"] >= {score} }};"
    );
    agent.put(&[("gate".to_owned(), text)]);
}

#[test]
fn the_suite_of_engines_passes() {
    let Some(lab) = Lab::from_env() else { return };
    let agent = CedarAgent::start(&lab, None);
    agent.put(&samples().iter().flat_map(|sample| statements(sample.name, sample.cedar)).collect::<Vec<_>>());
    check_with(builder(&agent).build().unwrap(), 1).unwrap();
}

#[test]
fn the_policy_library_decides_as_it_does_embedded() {
    let Some(lab) = Lab::from_env() else { return };
    let agent = CedarAgent::start(&lab, None);
    let library = library();
    is_whole(&library);
    let texts = library.iter().map(|shipped| (&shipped.name, shipped.cedar.as_ref().unwrap()));
    agent.put(&texts.flat_map(|(name, text)| statements(name, text)).collect::<Vec<_>>());
    let engine = builder(&agent).build().unwrap();
    let embedded = CedarEngine::from_dir(library_folder()).unwrap();
    for shipped in &library {
        agree(&shipped.name, &shipped.cases, &engine, &embedded);
    }
}

#[test]
fn an_agent_that_holds_nothing_of_the_name_knows_no_such_policy() {
    let Some(lab) = Lab::from_env() else { return };
    let agent = CedarAgent::start(&lab, None);
    // An engine keeps the list of names for a while, so that each question of this has its own.
    let asked = |name: &str, given| {
        let engine = builder(&agent).build().unwrap();
        Verdict::from(&ask(&engine, name, &score(given)))
    };
    let unknown = Verdict::Error(PolicyErrorKind::UnknownPolicy);
    assert_eq!(asked("gate/score", 40), unknown);
    gate(&agent, 40);
    assert_eq!(asked("gate/score", 40), Verdict::Allow);
    assert_eq!(asked("gate/score", 39), Verdict::Deny);
    assert_eq!(asked("gate/scores", 40), unknown);
    gate(&agent, 60);
    assert_eq!(asked("gate/score", 40), Verdict::Deny);
    // A policy for every action knows every name.
    agent.put(&[("all".to_owned(), "forbid(principal, action, resource);".to_owned())]);
    assert_eq!(asked("gate/scores", 40), Verdict::Deny);
}

#[test]
fn a_forbid_that_fails_is_no_allow() {
    let Some(lab) = Lab::from_env() else { return };
    let agent = CedarAgent::start(&lab, None);
    let policies = [
        ("permit", "permit(principal, action == Action::\"gate/score\", resource);"),
        (
            "forbid",
            "forbid(principal, action == Action::\"gate/score\", resource) when { context.object.attributes.secret };",
        ),
    ];
    agent.put(&policies.map(|(id, text)| (id.to_owned(), text.to_owned())));
    let engine = builder(&agent).build().unwrap();
    let with = |attributes| serde_json::from_value(json!({"object": {"attributes": attributes}})).unwrap();
    // The agent itself says `Allow` to the first and the second.
    for (attributes, wanted) in [
        (json!({}), Verdict::Error(PolicyErrorKind::Evaluation)),
        (json!({"secret": "yes"}), Verdict::Error(PolicyErrorKind::Evaluation)),
        (json!({"secret": true}), Verdict::Deny),
        (json!({"secret": false}), Verdict::Allow),
        (json!({"secret": false, "ratio": 0.5}), Verdict::Error(PolicyErrorKind::Input)),
    ] {
        let answer = ask(&engine, "gate/score", &with(attributes.clone()));
        assert_eq!(Verdict::from(&answer), wanted, "{attributes}: {answer:?}");
    }
}

#[test]
fn names_and_ids_of_every_spelling_reach_the_agent() {
    let Some(lab) = Lab::from_env() else { return };
    let agent = CedarAgent::start(&lab, None);
    let ids = [
        "it's",
        "\"quoted\" \\ back",
        "é✓😀",
        "tab\tnul\0",
        "\u{301}leading mark",
        "zero\u{200b}width",
        "*",
        "",
    ];
    agent.put(&[(
        "names".to_owned(),
        "permit(principal, action == Action::\"gate/names\", resource == Resource::\"it's\");".to_owned(),
    )]);
    let engine = builder(&agent).build().unwrap();
    for id in ids {
        let input: InputDocument =
            serde_json::from_value(json!({"subject": {"workload": format!("w {id}")}, "object": {"id": id}}))
                .unwrap();
        let answer = ask(&engine, "gate/names", &input);
        assert_eq!(
            Verdict::from(&answer),
            if id == "it's" { Verdict::Allow } else { Verdict::Deny },
            "{id:?}: {answer:?}"
        );
    }
}

#[test]
fn only_the_token_that_the_agent_knows_is_answered() {
    const TOKEN: &str = "agent-93ab-secret";
    let Some(lab) = Lab::from_env() else { return };
    let agent = CedarAgent::start(&lab, Some(TOKEN));
    gate(&agent, 40);
    let known = builder(&agent).token(TOKEN).build().unwrap();
    assert_eq!(Verdict::from(&ask(&known, "gate/score", &score(40))), Verdict::Allow);
    let strangers =
        [builder(&agent).build().unwrap(), builder(&agent).token("agent-93ab-secre").build().unwrap()];
    for engine in strangers {
        let error = ask(&engine, "gate/score", &score(40)).unwrap_err();
        assert_eq!(error.kind(), PolicyErrorKind::Refused, "{error}");
        assert!(!format!("{error} {error:?} {engine:?}").contains("agent-93ab"), "{error}");
    }
}

#[test]
fn an_agent_that_is_gone_is_a_broken_connection() {
    let Some(lab) = Lab::from_env() else { return };
    let agent = CedarAgent::start(&lab, None);
    gate(&agent, 40);
    let engine = builder(&agent).build().unwrap();
    assert_eq!(Verdict::from(&ask(&engine, "gate/score", &score(40))), Verdict::Allow);
    drop(agent);
    let error = ask(&engine, "gate/score", &score(40)).unwrap_err();
    assert_eq!(error.kind(), PolicyErrorKind::Connection, "{error}");
}
