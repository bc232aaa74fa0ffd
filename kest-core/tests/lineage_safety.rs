//! What must not happen to a lineage: history shed, trust gained, requests mixed (spec §5, §8).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::collections::BTreeSet;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use kest_core::__private::{CallSpec, Invocation};
use kest_core::config::Config;
use kest_core::lineage::{Lineage, LineageExt, get_current_passport, with_user};
use kest_core::verify::{UnverifiedPassport, Verifier};
use kest_core::{Kest, Passport};
use support::{PLAIN, TestEngine, TestIdentity, invoke, kest, op, payload, shape, spec, sync};
use tokio::task::yield_now;

fn taints(passport: &Passport) -> BTreeSet<String> {
    passport.tips().iter().flat_map(|tip| tip.taints().to_vec()).map(|taint| taint.to_string()).collect()
}

fn tainting(name: &str, taint: &str) {
    invoke(Invocation::new(spec(name)).added_taints(taint), || ()).unwrap();
}

fn configured(text: &str) -> Kest {
    let config = Config::parse(text).unwrap();
    Kest::builder().identity(TestIdentity).engine(TestEngine).config(config).build().unwrap()
}

/// A call without a source of its own.
fn unnamed(name: &str) -> Invocation {
    let spec = CallSpec { operation: name.to_owned().leak(), source_type: None, ..PLAIN };
    Invocation::new(Box::leak(Box::new(spec)))
}

fn trust(passport: &Passport) -> u8 {
    passport.tips()[0].trust_score()
}

#[tokio::test]
async fn a_lost_scope_does_not_gain_the_deployments_default() {
    let kest = configured("[trust]\nroot_source = \"internal\"");
    let scoped =
        kest.scope(async { invoke(unnamed("a"), || get_current_passport().unwrap()).unwrap() }).await;
    assert_eq!(trust(&scoped), 80, "an opened scope takes the deployment's default");
    // The same call in a task that lost its scope: only the call itself names the `Kest`.
    let lost = tokio::spawn(async move {
        let call = unnamed("b").identity(TestIdentity).engine(TestEngine);
        invoke(call, || get_current_passport().unwrap()).unwrap()
    });
    assert_eq!(trust(&lost.await.unwrap()), 10);
}

#[tokio::test]
async fn a_scope_made_here_and_polled_elsewhere_belongs_here() {
    let kest = configured("[trust]\nroot_source = \"internal\"");
    let inner = kest.clone();
    let (task, _) = kest
        .scope(async move {
            let call =
                inner.scope(async { invoke(unnamed("b"), || get_current_passport().unwrap()).unwrap() });
            let user = with_user("alice", async { get_current_passport().is_some() });
            (tokio::spawn(call).await.unwrap(), tokio::spawn(user).await.unwrap())
        })
        .ingress()
        .await;
    assert_eq!(trust(&task), 10, "the mark of a request from outside was lost with the scope");
}

/// Two items, each made by a protected call.
struct Items(u32);

impl Stream for Items {
    type Item = u32;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<u32>> {
        if self.0 == 2 {
            return Poll::Ready(None);
        }
        self.0 += 1;
        tainting(&format!("item{}", self.0), "llm_generated");
        Poll::Ready(Some(self.0))
    }
}

#[test]
fn who_works_on_an_item_of_a_stream_comes_after_what_made_it() {
    let kest = kest();
    let scope = kest.enter();
    sync("r", || ()).unwrap();
    let mut stream = pin!(Items(0).in_lineage());
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(stream.as_mut().poll_next(&mut cx), Poll::Ready(Some(1)));
    sync("use1", || ()).unwrap();
    assert!(taints(&scope.passport()).contains("llm_generated"));
    assert_eq!(stream.as_mut().poll_next(&mut cx), Poll::Ready(Some(2)));
    sync("use2", || ()).unwrap();
    assert_eq!(stream.as_mut().poll_next(&mut cx), Poll::Ready(None));
    assert_eq!(shape(&scope.passport()), "item1<r; item2<item1; r; use1<item1; use2<item2,use1");
}

#[test]
fn a_captured_lineage_that_lives_on_hides_nothing() {
    let kest = kest();
    let scope = kest.enter();
    let lineage = Lineage::capture();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let _in_lineage = lineage.enter();
            tainting("t", "phi");
        });
    });
    sync("sink", || ()).unwrap();
    assert_eq!(shape(&scope.passport()), "sink<t; t");
    assert!(taints(&scope.passport()).contains("phi"));
    drop(lineage);
    assert_eq!(shape(&scope.passport()), "sink<t; t");
}

#[tokio::test]
async fn a_guard_held_across_an_await_does_not_reach_other_requests() {
    let request_a = kest().scope(async {
        let inner = kest();
        let guard = inner.enter();
        tainting("patient_a", "phi");
        yield_now().await;
        // Back in its own scope after the suspension.
        sync("patient_a_2", || ()).unwrap();
        guard.passport()
    });
    let request_b = async {
        let ((), passport) = kest().scope(async { sync("patient_b", || ()).unwrap() }).with_passport().await;
        passport
    };
    let (a, b) = tokio::join!(biased; request_a, request_b);
    assert_eq!(shape(&a), "patient_a; patient_a_2<patient_a");
    assert_eq!(shape(&b), "patient_b");
    assert!(taints(&b).is_empty());
}

#[test]
fn a_context_taken_in_a_body_that_has_ended_does_not_shed_what_came_after() {
    let kest = kest();
    let scope = kest.enter();
    let stale = sync("f", opentelemetry::Context::current).unwrap();
    tainting("taint", "phi");
    {
        let _attached = stale.attach();
        sync("sink", || ()).unwrap();
    }
    assert_eq!(shape(&scope.passport()), "f; sink<taint; taint<f");
}

#[test]
fn a_verified_passport_comes_on_top_of_an_open_lineage() {
    let verifier = Verifier::builder().build();
    let empty = UnverifiedPassport::deserialize("[]").unwrap().verify(&verifier).unwrap();
    let kest = configured("[trust]\nroot_source = \"internal\"");
    let outer = kest.enter();
    tainting("llm", "phi");
    {
        let scope = empty.enter();
        sync("sink", || ()).unwrap();
        assert!(taints(&scope.passport()).contains("phi"), "the open lineage was shed");
    }
    assert_eq!(shape(&outer.passport()), "llm; sink<llm");
    drop(outer);
    // At the edge, an empty passport is nobody's word.
    let _service = kest.enter();
    let _scope = {
        drop(_service);
        empty.enter()
    };
    let call = unnamed("edge").identity(TestIdentity).engine(TestEngine);
    assert_eq!(trust(&invoke(call, || get_current_passport().unwrap()).unwrap()), 10);
}

#[tokio::test]
async fn a_completion_joins_more_branches_than_one_entry_has_parents() {
    use kest_core::__private::{begin, in_scope_recorded};
    let kest = kest();
    let (value, passport) = kest
        .scope(async {
            let live = begin(Invocation::new(spec("pay"))).await.unwrap();
            in_scope_recorded(live, Err, async {
                let branches: Vec<Lineage> = (0..300).map(|_| Lineage::capture()).collect();
                for (n, branch) in branches.iter().enumerate() {
                    let _entered = branch.enter();
                    sync(&format!("b{n}"), || ()).unwrap();
                }
                Ok::<u8, kest_core::Error>(1)
            })
            .await
        })
        .with_passport()
        .await;
    assert_eq!(value.unwrap(), 1);
    let entries = passport.entries();
    assert!(entries.iter().all(|entry| entry.parent_hashes().len() <= 256));
    let last = payload(entries.last().unwrap().jws());
    assert_eq!(last["classification"], "completion");
}

#[test]
fn joins_never_carry_more_taints_than_an_entry_may() {
    let kest = kest();
    let scope = kest.enter();
    sync("r", || ()).unwrap();
    let branches: Vec<Lineage> = (0..300).map(|_| Lineage::capture()).collect();
    for (n, branch) in branches.iter().enumerate() {
        let _entered = branch.enter();
        tainting(&format!("b{n}"), &format!("taint{n}"));
    }
    // 300 taints do not fit into one entry, so nothing is signed that a verifier would refuse.
    let error = sync("join", || ()).unwrap_err();
    assert!(error.to_string().contains("more than 256"), "{error}");
    assert!(scope.passport().entries().iter().all(|entry| entry.taints().len() <= 256));
}

#[tokio::test]
async fn a_user_that_is_null_is_nobody_in_baggage_too() {
    let kest = configured("[propagation]\ntrust_baggage_identity = true");
    let inside = with_user("alice", with_user(&None::<String>, op("a", async {})));
    let (result, passport) = kest.scope(inside).with_passport().await;
    result.unwrap();
    assert!(payload(passport.entries()[0].jws())["labels"]["kest.identity"].is_null());
}
