use std::cell::RefCell;
use std::path::PathBuf;

use super::*;

fn plan(variables: &[(&str, &str)]) -> Plan {
    plan_of_build(variables, &|_| true)
}

fn plan_of_build(variables: &[(&str, &str)], compiled: &dyn Fn(Candidate) -> bool) -> Plan {
    let env = |name: &str| {
        variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| OsString::from(value))
    };
    Plan::new(&env, compiled)
}

fn outcome(plan: &Plan, candidate: Candidate) -> Outcome {
    plan.probes.iter().find(|probe| probe.candidate == candidate).unwrap().outcome
}

fn reason(plan: &Plan, candidate: Candidate) -> &str {
    &plan.probes.iter().find(|probe| probe.candidate == candidate).unwrap().reason
}

/// `candidate` is taken and every other one passed over.
fn assert_taken(plan: &Plan, candidate: Candidate) {
    assert_eq!(*plan.verdict.as_ref().unwrap(), candidate, "{plan:?}");
    for other in Candidate::ALL {
        let expected = if other == candidate { Outcome::Taken } else { Outcome::PassedOver };
        assert_eq!(outcome(plan, other), expected, "{plan:?}");
    }
}

/// `candidate` cannot be used and nothing is taken in its place; the error says all of `words`.
fn assert_unusable(plan: &Plan, candidate: Candidate, words: &[&str]) {
    let error = plan.verdict.as_ref().unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "{word}: {error}");
    }
    assert_eq!(reason(plan, candidate), error);
    for other in Candidate::ALL {
        let expected = if other == candidate { Outcome::Unusable } else { Outcome::PassedOver };
        assert_eq!(outcome(plan, other), expected, "{plan:?}");
    }
}

/// A file with something in it, gone with this.
struct TokenFile(PathBuf);

impl TokenFile {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kest-detect-{}-{name}", std::process::id()));
        std::fs::write(&path, "not-a-real-token").unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn each_signal_takes_its_candidate() {
    let token = TokenFile::new("each");
    assert_taken(&plan(&[(SOCKET, "unix:///run/agent.sock")]), Candidate::Spire);
    assert_taken(&plan(&[(AGENT, "ABCDEFGHIJ")]), Candidate::Bedrock);
    assert_taken(&plan(&[(ROLE, "arn:aws:iam::1:role/r"), (KMS_KEY, "alias/k")]), Candidate::Aws);
    assert_taken(&plan(&[(EXECUTION, "AWS_ECS_FARGATE"), (KMS_KEY, "alias/k")]), Candidate::Aws);
    assert_taken(&plan(&[(TOKEN, token.path())]), Candidate::Oidc);
    assert_taken(&plan(&[]), Candidate::Local);
}

#[test]
fn the_first_signal_wins_and_the_report_says_so() {
    let token = TokenFile::new("first");
    let mut signals = vec![
        (SOCKET, "unix:///run/agent.sock"),
        (AGENT, "ABCDEFGHIJ"),
        (ROLE, "arn:aws:iam::1:role/r"),
        (KMS_KEY, "alias/k"),
        (TOKEN, token.path()),
    ];
    let all = plan(&signals);
    assert_eq!(reason(&all, Candidate::Aws), "`AWS_ROLE_ARN` is set, but `spire` comes first");
    assert_eq!(reason(&all, Candidate::Local), "`spire` comes first");
    for candidate in Candidate::ALL {
        assert_taken(&plan(&signals), candidate);
        let signals_of_it = if candidate == Candidate::Aws { 2 } else { 1 };
        signals.drain(..signals_of_it.min(signals.len()));
    }
}

#[test]
fn what_comes_after_the_one_that_is_taken_is_not_looked_at() {
    let socket = (SOCKET, "unix:///run/agent.sock");
    assert_taken(&plan(&[socket, (ROLE, "arn:aws:iam::1:role/r")]), Candidate::Spire);
    assert_taken(&plan(&[socket, (TOKEN, "/nowhere/token")]), Candidate::Spire);
    assert_taken(&plan(&[socket, (AGENT, ""), ("KEST_ENV", "production")]), Candidate::Spire);
}

#[test]
fn nothing_weaker_is_taken_for_a_signal_that_cannot_be_used() {
    let token = TokenFile::new("weaker");
    let oidc = (TOKEN, token.path());
    assert_unusable(
        &plan(&[(ROLE, "arn:aws:iam::1:role/r"), oidc]),
        Candidate::Aws,
        &["`AWS_ROLE_ARN`", "`KEST_AWS_KMS_KEY_ID`", "`KEST_IDENTITY`"],
    );
    assert_unusable(
        &plan(&[(EXECUTION, "AWS_ECS_FARGATE"), oidc]),
        Candidate::Aws,
        &["`AWS_EXECUTION_ENV`", "`KEST_AWS_KMS_KEY_ID`", "`KEST_IDENTITY`"],
    );
    assert_unusable(
        &plan(&[(TOKEN, "/nowhere/token")]),
        Candidate::Oidc,
        &["`KEST_OIDC_TOKEN_PATH`", "`/nowhere/token`", "No such file"],
    );
    let folder = std::env::temp_dir();
    assert_unusable(
        &plan(&[(TOKEN, folder.to_str().unwrap())]),
        Candidate::Oidc,
        &["`KEST_OIDC_TOKEN_PATH`", "is no file"],
    );
}

#[test]
fn an_empty_variable_is_no_absent_one() {
    for (variable, candidate) in [
        (SOCKET, Candidate::Spire),
        (AGENT, Candidate::Bedrock),
        (ROLE, Candidate::Aws),
        (EXECUTION, Candidate::Aws),
        (KMS_KEY, Candidate::Aws),
        (TOKEN, Candidate::Oidc),
    ] {
        for empty in ["", "  "] {
            assert_unusable(&plan(&[(variable, empty)]), candidate, &[variable, "empty"]);
        }
    }
    assert_unusable(&plan(&[(ROLE, "arn:aws:iam::1:role/r"), (KMS_KEY, "")]), Candidate::Aws, &[KMS_KEY]);
}

#[cfg(unix)]
#[test]
fn a_value_that_is_not_utf_8_is_an_error() {
    use std::os::unix::ffi::OsStringExt as _;
    for (variable, candidate) in [
        (SOCKET, Candidate::Spire),
        (AGENT, Candidate::Bedrock),
        (ROLE, Candidate::Aws),
        (KMS_KEY, Candidate::Aws),
        (TOKEN, Candidate::Oidc),
    ] {
        let env = |name: &str| (name == variable).then(|| OsString::from_vec(b"\xff".to_vec()));
        assert_unusable(&Plan::new(&env, &|_| true), candidate, &[variable, "not UTF-8"]);
    }
}

#[test]
fn a_feature_that_is_not_compiled_is_an_error_that_names_it() {
    let token = TokenFile::new("feature");
    let signals = [
        (Candidate::Spire, vec![(SOCKET, "unix:///run/agent.sock")]),
        (Candidate::Bedrock, vec![(AGENT, "ABCDEFGHIJ")]),
        (Candidate::Aws, vec![(ROLE, "arn:aws:iam::1:role/r"), (KMS_KEY, "alias/k")]),
        (Candidate::Oidc, vec![(TOKEN, token.path())]),
    ];
    for (candidate, mut variables) in signals {
        let compiled = |other| other != candidate;
        let feature = format!("cargo feature `{candidate}`");
        let signal = variables[0].0;
        assert_unusable(&plan_of_build(&variables, &compiled), candidate, &[&feature, signal]);
        variables.push((FORCE, candidate.name()));
        assert_unusable(&plan_of_build(&variables, &compiled), candidate, &[&feature, FORCE]);
        assert_taken(&plan_of_build(&[], &compiled), Candidate::Local);
    }
}

#[test]
fn a_name_forces_its_candidate_alone() {
    let token = TokenFile::new("forced");
    let signals = [
        (SOCKET, "unix:///run/agent.sock"),
        (AGENT, "ABCDEFGHIJ"),
        (ROLE, "arn:aws:iam::1:role/r"),
        (KMS_KEY, "alias/k"),
        (TOKEN, token.path()),
    ];
    for candidate in Candidate::ALL {
        let variables = [&signals[..], &[(FORCE, candidate.name())]].concat();
        let plan = plan(&variables);
        assert_taken(&plan, candidate);
        for other in Candidate::ALL.into_iter().filter(|other| *other != candidate) {
            assert_eq!(reason(&plan, other), format!("`KEST_IDENTITY` is `{candidate}`"));
        }
    }
    // Where a program runs need not be said when its identity is.
    assert_taken(&plan(&[(FORCE, "aws"), (KMS_KEY, "alias/k")]), Candidate::Aws);
    assert_taken(&plan(&[(FORCE, "spire")]), Candidate::Spire);
    // The others may be as broken as they like.
    assert_taken(&plan(&[(FORCE, "local"), (SOCKET, ""), (EXECUTION, "x")]), Candidate::Local);
    assert_taken(&plan(&[(FORCE, "aws"), (KMS_KEY, "alias/k"), (ROLE, "")]), Candidate::Aws);
}

#[test]
fn what_is_forced_needs_what_it_needs() {
    assert_unusable(&plan(&[(FORCE, "bedrock")]), Candidate::Bedrock, &[FORCE, AGENT]);
    assert_unusable(&plan(&[(FORCE, "aws"), (ROLE, "r")]), Candidate::Aws, &[FORCE, KMS_KEY]);
    assert_unusable(&plan(&[(FORCE, "oidc")]), Candidate::Oidc, &[FORCE, TOKEN]);
    assert_unusable(&plan(&[(FORCE, "oidc"), (TOKEN, "/nowhere/t")]), Candidate::Oidc, &["`/nowhere/t`"]);
    assert_unusable(&plan(&[(FORCE, "spire"), (SOCKET, "")]), Candidate::Spire, &[SOCKET]);
}

#[test]
fn a_name_that_is_none_takes_nothing() {
    for (name, said) in [
        ("spiffe", "`KEST_IDENTITY` is `spiffe`"),
        ("AWS", "`KEST_IDENTITY` is `AWS`"),
        (" aws", "no such identity"),
        ("", "`KEST_IDENTITY` is set and empty"),
        ("a`b\u{1b}", "no such identity"),
    ] {
        let plan = plan(&[(FORCE, name), (SOCKET, "unix:///run/agent.sock")]);
        let error = plan.verdict.unwrap_err().to_string();
        assert!(error.contains(said) && !error.contains('\u{1b}'), "{error}");
        assert!(plan.probes.iter().all(|probe| probe.outcome == Outcome::PassedOver), "{:?}", plan.probes);
        assert_eq!(plan.probes.len(), Candidate::ALL.len());
        if !name.is_empty() {
            let names = Candidate::ALL.map(|candidate| format!("`{candidate}`")).join(", ");
            assert!(error.ends_with(&names), "{error}");
        }
    }
}

#[test]
fn a_local_key_is_refused_in_production() {
    for forced in [&[][..], &[(FORCE, "local")]] {
        for name in ["production", " Production "] {
            let plan = plan(&[forced, &[("KEST_ENV", name)]].concat());
            assert_unusable(&plan, Candidate::Local, &["`KEST_ENV`", SOCKET, AGENT, ROLE, KMS_KEY, TOKEN]);
            assert_eq!(plan.verdict.unwrap_err().kind(), IdentityErrorKind::Refused);
        }
    }
    assert_taken(&plan(&[("KEST_ENV", "staging")]), Candidate::Local);
}

#[test]
fn a_key_alone_is_no_signal_and_the_report_says_so() {
    let plan = plan(&[(KMS_KEY, "alias/k")]);
    assert_taken(&plan, Candidate::Local);
    assert!(reason(&plan, Candidate::Aws).contains("`KEST_IDENTITY=aws`"), "{plan:?}");
}

#[test]
fn no_value_is_in_a_report() {
    let token = TokenFile::new("value");
    let asked = RefCell::new(Vec::new());
    let env = |name: &str| {
        asked.borrow_mut().push(name.to_owned());
        (name != FORCE && name != "KEST_ENV").then(|| {
            OsString::from(if name == TOKEN { token.path().to_owned() } else { format!("value-of-{name}") })
        })
    };
    let plan = Plan::new(&env, &|_| true);
    assert_taken(&plan, Candidate::Spire);
    assert!(!format!("{plan:?}").contains("value-of-"), "{plan:?}");
    assert!(asked.borrow().iter().any(|name| name == SOCKET));
}
