//! What goes to another service, what comes from one, and what it brings back (spec §5, §12).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use kest_core::Passport;
use kest_core::error::LineageErrorKind;
use kest_core::lineage::{
    self, Jwt, OnBehalfOf, Outgoing, get_current_agent, get_current_jwt, get_current_task, get_current_user,
    with_agent, with_jwt, with_user,
};
use kest_core::verify::{UnverifiedPassport, VerifiedPassport, Verifier};
use serde_json::json;
use support::{kest, op, payload, shape, sync};

/// The passport as another service has it that believes the tests' identity.
fn received(passport: &Passport) -> VerifiedPassport {
    let verifier = Verifier::builder().dangerous().accept_mock().build();
    UnverifiedPassport::deserialize(&passport.serialize()).unwrap().verify(&verifier).unwrap()
}

/// What a callee, which shares nothing with the caller, makes of what was sent: the operations, one after the other.
fn callee(sent: &Passport, operations: &[&str]) -> VerifiedPassport {
    let elsewhere = || {
        let kest = kest();
        let _kest = kest.enter_ingress();
        let scope = received(sent).enter();
        for operation in operations {
            sync(operation, || ()).unwrap();
        }
        received(&scope.passport())
    };
    std::thread::scope(|threads| threads.spawn(elsewhere).join().unwrap())
}

#[test]
fn what_goes_out_is_what_stands_where_the_call_is_made() {
    let kest = kest();
    assert!(Outgoing::capture().passport().is_empty());
    let _scope = kest.enter();
    sync("a", || {
        sync("b", || ()).unwrap();
        let outgoing = Outgoing::capture();
        assert_eq!(shape(&outgoing.passport()), "a; b<a");
        assert!(outgoing.user().is_none() && outgoing.jwt().is_none());
    })
    .unwrap();
}

#[tokio::test]
async fn identity_and_token_go_along() {
    let token = Jwt::new("eyJ.secret.x");
    let call = async {
        assert_eq!(get_current_jwt(), Some(Jwt::new("eyJ.secret.x")));
        Outgoing::capture()
    };
    let outgoing = with_jwt(token, with_user("alice", with_agent(&json!({"id": "bot"}), call))).await;
    assert_eq!(outgoing.user(), Some(&json!("alice")));
    assert_eq!(outgoing.agent(), Some(&json!({"id": "bot"})));
    assert_eq!(outgoing.task(), None);
    assert_eq!(outgoing.jwt().unwrap().reveal(), "eyJ.secret.x");
    assert!(!format!("{outgoing:?}").contains("secret"), "a token shows itself in no log");
    assert_eq!(get_current_jwt(), None);
}

#[tokio::test]
async fn what_comes_back_is_the_parent_of_the_next_call() {
    let ((), passport) = kest()
        .scope(async {
            op("a", async {
                let outgoing = Outgoing::capture();
                outgoing.returned(&callee(&outgoing.passport(), &["b", "c"])).unwrap();
                op("d", async {}).await.unwrap();
            })
            .await
            .unwrap();
        })
        .with_passport()
        .await;
    assert_eq!(shape(&passport), "a; b<a; c<b; d<c");
}

#[tokio::test]
async fn a_fan_out_to_two_services_is_joined() {
    let ((), passport) = kest()
        .scope(async {
            op("a", async {
                let (one, two) = (Outgoing::capture(), Outgoing::capture());
                one.returned(&callee(&one.passport(), &["b"])).unwrap();
                two.returned(&callee(&two.passport(), &["c"])).unwrap();
                op("d", async {}).await.unwrap();
            })
            .await
            .unwrap();
        })
        .with_passport()
        .await;
    assert_eq!(shape(&passport), "a; b<a; c<a; d<c,b");
}

#[tokio::test]
async fn what_ended_meanwhile_stays_a_parent_too() {
    let ((), passport) = kest()
        .scope(async {
            op("a", async {}).await.unwrap();
            let outgoing = Outgoing::capture();
            op("here", async {}).await.unwrap();
            outgoing.returned(&callee(&outgoing.passport(), &["there"])).unwrap();
            op("d", async {}).await.unwrap();
        })
        .with_passport()
        .await;
    assert_eq!(shape(&passport), "a; d<there,here; here<a; there<a");
}

#[tokio::test]
async fn the_history_of_another_call_is_not_joined() {
    let kest = kest();
    let stranger = {
        let scope = kest.enter();
        sync("x", || ()).unwrap();
        scope.passport()
    };
    let ((), passport) = kest
        .scope(async {
            op("a", async {}).await.unwrap();
            let outgoing = Outgoing::capture();
            let error = outgoing.returned(&callee(&stranger, &["y"])).unwrap_err();
            assert_eq!(error.kind(), LineageErrorKind::Unverified);
            assert!(error.to_string().contains("nothing was joined"), "{error}");
            // Nothing new: nothing changes, and nothing is lost.
            outgoing.returned(&callee(&outgoing.passport(), &[])).unwrap();
            op("d", async {}).await.unwrap();
        })
        .with_passport()
        .await;
    assert_eq!(shape(&passport), "a; d<a");
}

#[tokio::test]
async fn lineage_that_comes_back_late_reaches_the_scope_that_is_still_open() {
    let ((), passport) = kest()
        .scope(async {
            let mut late = None;
            op("a", async { late = Some(Outgoing::capture()) }).await.unwrap();
            let late = late.unwrap();
            late.returned(&callee(&late.passport(), &["b"])).unwrap();
            op("d", async {}).await.unwrap();
        })
        .with_passport()
        .await;
    assert_eq!(shape(&passport), "a; b<a; d<b");
}

#[tokio::test]
async fn a_verified_lineage_says_on_whose_behalf_and_a_token_says_it_better() {
    let upstream = OnBehalfOf::new().user("alice").agent("shop").task("order-1");
    let of = || (get_current_user(), get_current_agent(), get_current_task());
    let some = |text: &str| Some(json!(text));
    let (same, other, bare) = lineage::scope(async {
        assert_eq!(of(), (some("alice"), some("shop"), some("order-1")));
        let token = || Jwt::new("t");
        (
            lineage::scope(async { of() })
                .authenticated(OnBehalfOf::new().user("alice").agent("app"), token())
                .await,
            lineage::scope(async { of() }).authenticated(OnBehalfOf::new().user("bob"), token()).await,
            lineage::scope(async { (of(), get_current_jwt()) }).upstream(OnBehalfOf::new()).await,
        )
    })
    .upstream(upstream)
    .await;
    assert_eq!(same, (some("alice"), some("app"), some("order-1")));
    // Alice's agent and task do not stand beside bob.
    assert_eq!(other, (some("bob"), None, None));
    assert_eq!(bare, ((None, None, None), None));
}

#[tokio::test]
async fn behind_the_layers_a_root_is_unauthenticated_until_a_token_is_validated() {
    let score = |passport: &Passport| payload(passport.entries()[0].jws())["trust_score"].clone();
    let kest = kest();
    let unnamed = || {
        let spec =
            Box::leak(Box::new(kest_core::__private::CallSpec { source_type: None, ..support::PLAIN }));
        support::invoke(kest_core::__private::Invocation::new(spec), || ())
    };
    let (result, passport) =
        lineage::scope(async { unnamed() }).under(kest.clone()).ingress().with_passport().await;
    result.unwrap();
    assert_eq!(score(&passport), json!(10));
    let authenticated =
        lineage::scope(async { unnamed() }).authenticated(OnBehalfOf::new().user("alice"), Jwt::new("t"));
    let (result, passport) = authenticated.under(kest.clone()).with_passport().await;
    result.unwrap();
    assert_eq!(score(&passport), json!(50));
    let labels = &payload(passport.entries()[0].jws())["labels"];
    assert_eq!(labels["kest.identity"], json!(r#"{"user":"alice"}"#));
    // An inside source is refused behind a layer.
    let (result, _) = lineage::scope(async { sync("a", || ()) })
        .under(kest)
        .upstream(OnBehalfOf::new())
        .with_passport()
        .await;
    assert!(result.unwrap_err().to_string().contains("serves a request from outside"));
}

#[test]
fn a_capped_lineage_counts_for_no_more_wherever_it_goes() {
    let kest = kest();
    let sent = {
        let scope = kest.enter();
        sync("a", || ()).unwrap();
        scope.passport()
    };
    let received = received(&sent);
    assert_eq!(received.tips()[0].trust_score(), 80);
    assert_eq!(received.tip_entries().map(|entry| &*entry.operation).collect::<Vec<_>>(), ["a"]);
    let capped = received.capped(40);
    assert_eq!((capped.tips()[0].trust_score(), capped.effective()[0].trust_score), (40, 40));
    assert_eq!(capped.entries()[0].trust_score, 80, "what the signer declares stays");
    let _kest = kest.enter_ingress();
    let scope = capped.enter();
    sync("b", || ()).unwrap();
    let passport = scope.passport();
    assert_eq!(shape(&passport), "a; b<a");
    assert_eq!(payload(passport.tips()[0].jws())["trust_score"], json!(40));
    // A ceiling raises nothing.
    assert_eq!(capped.capped(100).tips()[0].trust_score(), 40);
}
