//! What goes to another service, what comes from one, and what it brings back (spec §5, §12).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kest_core::Passport;
use kest_core::error::{Error, LineageErrorKind, PropagationError, PropagationErrorKind};
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

#[tokio::test]
async fn an_idle_callee_beside_other_work_brings_back_no_tip() {
    let ((), passport) = kest()
        .scope(async {
            op("a", async {}).await.unwrap();
            let outgoing = Outgoing::capture();
            op("here", async {}).await.unwrap();
            outgoing.returned(&callee(&outgoing.passport(), &[])).unwrap();
            assert_eq!(Outgoing::capture().passport().tips().len(), 1, "`a` is no tip beside its child");
            op("d", async {}).await.unwrap();
        })
        .with_passport()
        .await;
    assert_eq!(shape(&passport), "a; d<here; here<a");
}

#[tokio::test]
async fn what_came_back_before_is_no_tip_again() {
    let ((), passport) = kest()
        .scope(async {
            op("a", async {}).await.unwrap();
            let outgoing = Outgoing::capture();
            let there = callee(&outgoing.passport(), &["there"]);
            outgoing.returned(&there).unwrap();
            op("d", async {}).await.unwrap();
            outgoing.returned(&there).unwrap();
            op("e", async {}).await.unwrap();
        })
        .with_passport()
        .await;
    assert_eq!(shape(&passport), "a; d<there; e<d; there<a");
}

#[tokio::test]
async fn what_comes_back_after_the_end_is_there_for_code_that_goes_on_and_in_no_passport() {
    let (outgoing, passport) = kest()
        .scope(async {
            op("a", async {}).await.unwrap();
            Outgoing::capture()
        })
        .with_passport()
        .await;
    let warnings = Warnings::default();
    tracing::subscriber::with_default(warnings.clone(), || {
        outgoing.returned(&callee(&outgoing.passport(), &[])).unwrap();
        assert_eq!(warnings.count(), 0, "nothing is lost");
        outgoing.returned(&callee(&outgoing.passport(), &["b"])).unwrap();
        assert_eq!(warnings.count(), 1);
    });
    assert_eq!(shape(&passport), "a");
}

/// Counts warnings of kest.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl Warnings {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "kest" && *metadata.level() == tracing::Level::WARN
    }

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// What goes on from a lineage counts for no more than that counts for here, whatever a verifier by itself makes of it.
#[tokio::test]
async fn a_cap_is_kept_by_what_goes_on_from_it() {
    let sent = {
        let scope = kest().enter();
        sync("a", || ()).unwrap();
        scope.passport()
    };
    let capped = received(&sent).capped(7);
    let back = callee(capped.passport(), &["b"]);
    assert!(back.passport().tips()[0].trust_score() > 7, "by itself the callee knows nothing of the cap");
    let verifier = Verifier::builder().dangerous().accept_mock().build().continuing(capped.passport());
    let all = UnverifiedPassport::deserialize(&back.passport().serialize()).unwrap();
    let verified = all.verify(&verifier).unwrap();
    let scores: Vec<u8> = verified.effective().iter().map(|effective| effective.trust_score).collect();
    assert_eq!(scores, [7, 7]);
    let ((), joined) = capped
        .scope(async {
            let outgoing = Outgoing::capture();
            outgoing.returned(&verified).unwrap();
            op("d", async {}).await.unwrap();
        })
        .under(kest())
        .with_passport()
        .await;
    assert_eq!(shape(&joined), "a; b<a; d<b");
    assert!(joined.entries().iter().all(|entry| entry.trust_score() <= 7), "{joined:?}");
}

#[test]
fn what_came_since_is_exactly_the_rest() {
    let (earlier, all) = {
        let scope = kest().enter();
        sync("a", || ()).unwrap();
        sync("b", || ()).unwrap();
        let earlier = scope.passport();
        sync("c", || ()).unwrap();
        sync("d", || ()).unwrap();
        (earlier, scope.passport())
    };
    let since = all.since(&earlier);
    let jws = |passport: &Passport| passport.entries().iter().map(|e| e.jws().to_owned()).collect::<Vec<_>>();
    assert_eq!([jws(&earlier), jws(&since)].concat(), jws(&all));
    assert_eq!(since.tips()[0].hash(), all.tips()[0].hash());
    assert!(all.since(&all).is_empty());
    assert_eq!(jws(&all.since(&Passport::new())), jws(&all));
}

#[test]
fn an_error_says_whether_the_call_was_made() {
    let error = |kind| Error::from(PropagationError::new(kind, "x"));
    for kind in
        [PropagationErrorKind::Returned, PropagationErrorKind::Unbound, PropagationErrorKind::Unverified]
    {
        assert!(error(kind).already_executed(), "{kind:?}");
    }
    for kind in
        [PropagationErrorKind::HostNotNamed, PropagationErrorKind::TooLarge, PropagationErrorKind::Cache]
    {
        assert!(!error(kind).already_executed(), "{kind:?}");
    }
}
