//! Names that go to engines by prefix. Spec §11.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use kest_core::__private::{CallSpec, Invocation, begin_sync};
use kest_core::Kest;
use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::policy::{BoxFuture, Decision, InputDocument, PolicyEngine, PolicyRequest};
use kest_providers::identity::MockIdentityProvider;
use kest_providers::policy::{MockPolicyEngine, Router};

/// Denies with its own name, so that an answer tells who gave it.
fn named(name: &'static str) -> MockPolicyEngine {
    MockPolicyEngine::new(move |request| {
        Ok(Decision::Deny { reason: Some(format!("{name} for {}", request.policy)) })
    })
}

fn ask(engine: &dyn PolicyEngine, policy: &str) -> Result<Decision, PolicyUnavailable> {
    let input = InputDocument::default();
    let input = input.as_input();
    let request = PolicyRequest { policy, input: &input };
    let answer = engine.evaluate(&request);
    let mut later = engine.evaluate_async(&request);
    let Poll::Ready(waited) = later.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("these engines answer at once");
    };
    match (&answer, &waited) {
        (Ok(answer), Ok(waited)) => assert_eq!(answer, waited),
        (Err(answer), Err(waited)) => assert_eq!(answer.to_string(), waited.to_string()),
        (answer, waited) => panic!("{answer:?} and {waited:?}"),
    }
    answer
}

fn who(engine: &dyn PolicyEngine, policy: &str) -> String {
    match ask(engine, policy) {
        Ok(Decision::Deny { reason: Some(reason) }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_longest_prefix_of_whole_segments_takes_the_policy() {
    let router = Router::builder()
        .route("payments", named("short"))
        .route("payments/pci/card", named("longest"))
        .route("payments/pci", named("long"))
        .build()
        .unwrap();
    for (policy, engine) in [
        ("payments", "short"),
        ("payments/refund", "short"),
        ("payments/pcix", "short"),
        ("payments/pci", "long"),
        ("payments/pci/cards", "long"),
        ("payments/pci/card", "longest"),
        ("payments/pci/card/a", "longest"),
    ] {
        assert_eq!(who(&router, policy), format!("{engine} for {policy}"));
    }
    assert_eq!(router.prefixes(), ["payments/pci/card", "payments/pci", "payments"]);
}

#[test]
fn what_no_prefix_takes_is_unknown_or_falls_back() {
    let routed = || Router::builder().route("payments", named("a")).route("kest/x", named("b"));
    let (bare, backed) = (routed().build().unwrap(), routed().fallback(named("rest")).build().unwrap());
    for policy in ["pay", "payments_old", "paymentsx/a", "a/payments", "kest", "kest/xy", ""] {
        let error = ask(&bare, policy).unwrap_err();
        assert_eq!(error.kind(), PolicyErrorKind::UnknownPolicy);
        let text = error.to_string();
        assert!(text.contains(&format!("`{policy}`")) && text.contains("`payments`, `kest/x`"), "{text}");
        assert_eq!(who(&backed, policy), format!("rest for {policy}"));
    }
    let only = Router::builder().fallback(named("rest")).build().unwrap();
    assert_eq!(who(&only, "any"), "rest for any");
}

#[test]
fn an_engine_that_cannot_answer_is_not_replaced() {
    let broken = MockPolicyEngine::new(|_| {
        Err(PolicyUnavailable::new(PolicyErrorKind::Timeout, "no answer within 1s"))
    });
    let router = Router::builder().route("a", broken).fallback(MockPolicyEngine::allow()).build().unwrap();
    assert_eq!(ask(&router, "a/b").unwrap_err().kind(), PolicyErrorKind::Timeout);
    assert_eq!(ask(&router, "b").unwrap(), Decision::allow());
}

#[test]
fn wrong_routes_are_refused() {
    let one = |prefix: &str| Router::builder().route(prefix, named("a"));
    for prefix in ["", "/", "a/", "/a", "a//b", "a b", "a.b", "ä", "a\n", "*"] {
        let error = one(prefix).build().unwrap_err();
        assert_eq!(error.kind(), PolicyErrorKind::Load);
        assert!(error.to_string().contains("is no prefix of policy names"), "{error}");
    }
    let twice = one("a/b").route("c", named("b")).route("a/b", named("c")).build().unwrap_err();
    assert!(twice.to_string().contains("`a/b` is routed twice"), "{twice}");
    let none = Router::builder().build().unwrap_err();
    assert!(none.to_string().contains("needs a route"), "{none}");
}

#[test]
fn routers_nest() {
    let inner = Router::builder().route("a/b", named("inner")).build().unwrap();
    let outer = Router::builder().route("a", inner).fallback(named("outer")).build().unwrap();
    assert_eq!(who(&outer, "a/b/c"), "inner for a/b/c");
    assert_eq!(who(&outer, "b"), "outer for b");
    assert_eq!(ask(&outer, "a/c").unwrap_err().kind(), PolicyErrorKind::UnknownPolicy);
}

#[test]
fn it_shows_its_routes() {
    let router = Router::builder().route("a/b", named("a")).fallback(named("b")).build().unwrap();
    let shown = format!("{router:?}");
    assert!(shown.contains("\"a/b\": MockPolicyEngine") && shown.contains("\"*\": Mock"), "{shown}");
}

/// Says how often it was reloaded, and counts its snapshots.
#[derive(Debug, Default)]
struct Reloading {
    version: AtomicUsize,
    snapshots: AtomicUsize,
}

impl Reloading {
    fn reload(&self) {
        self.version.fetch_add(1, Ordering::SeqCst);
    }
}

impl PolicyEngine for Reloading {
    fn evaluate(&self, _: &PolicyRequest<'_>) -> Result<Decision, PolicyUnavailable> {
        Ok(Decision::Deny { reason: Some(self.version.load(Ordering::SeqCst).to_string()) })
    }

    fn evaluate_async<'a>(
        &'a self,
        request: &'a PolicyRequest<'a>,
    ) -> BoxFuture<'a, Result<Decision, PolicyUnavailable>> {
        Box::pin(async move { self.evaluate(request) })
    }

    fn snapshot(&self) -> Option<Arc<dyn PolicyEngine>> {
        self.snapshots.fetch_add(1, Ordering::SeqCst);
        let version = self.version.load(Ordering::SeqCst);
        Some(Arc::new(Self { version: version.into(), snapshots: AtomicUsize::new(0) }))
    }
}

#[test]
fn a_snapshot_holds_every_engine_as_it_stood() {
    let (first, second) = (Arc::new(Reloading::default()), Arc::new(Reloading::default()));
    let shared: Arc<dyn PolicyEngine> = Arc::clone(&first) as _;
    let inner = Router::builder().route("in/a", Arc::clone(&second)).build().unwrap();
    let router = Router::builder()
        .route("a", Arc::clone(&shared))
        .route("b", Arc::clone(&shared))
        .route("in", inner)
        .route("fixed", named("fixed"))
        .fallback(shared)
        .build()
        .unwrap();
    let before = router.snapshot().unwrap();
    assert_eq!(first.snapshots.load(Ordering::SeqCst), 1, "one engine, one snapshot");
    assert_eq!(second.snapshots.load(Ordering::SeqCst), 1);
    first.reload();
    second.reload();
    for policy in ["a/x", "b/x", "in/a", "other"] {
        assert_eq!(who(&*before, policy), "0", "{policy}");
        assert_eq!(who(&router, policy), "1", "{policy}");
        assert_eq!(who(&*router.snapshot().unwrap(), policy), "1", "{policy}");
    }
    assert_eq!(who(&*before, "fixed/x"), "fixed for fixed/x");
    let fixed = Router::builder().route("a", named("a")).build().unwrap();
    assert!(fixed.snapshot().is_none(), "nothing in it reloads");
}

#[test]
fn one_engine_under_several_prefixes_is_one() {
    let engine = Arc::new(Reloading::default());
    let router =
        Router::builder().routes(["a", "b/c"], Arc::clone(&engine)).fallback(named("rest")).build().unwrap();
    assert_eq!(router.prefixes(), ["b/c", "a"]);
    let before = router.snapshot().unwrap();
    assert_eq!(engine.snapshots.load(Ordering::SeqCst), 1);
    engine.reload();
    for policy in ["a/x", "b/c/x"] {
        assert_eq!(
            (who(&*before, policy), who(&router, policy)),
            ("0".to_owned(), "1".to_owned()),
            "{policy}"
        );
    }
    assert_eq!(who(&router, "b/x"), "rest for b/x");
    let twice = Router::builder().routes(["a", "a"], named("a")).build().unwrap_err();
    assert!(twice.to_string().contains("`a` is routed twice"), "{twice}");
}

/// Reloads whenever it is asked, and allows its calls with what it was as the digest.
#[derive(Debug)]
struct Restless(Arc<AtomicUsize>, Arc<Mutex<Vec<(String, usize)>>>);

impl PolicyEngine for Restless {
    fn evaluate(&self, request: &PolicyRequest<'_>) -> Result<Decision, PolicyUnavailable> {
        let version = self.0.fetch_add(1, Ordering::SeqCst);
        self.1.lock().unwrap().push((request.policy.to_owned(), version));
        Ok(Decision::allow())
    }

    fn evaluate_async<'a>(
        &'a self,
        request: &'a PolicyRequest<'a>,
    ) -> BoxFuture<'a, Result<Decision, PolicyUnavailable>> {
        Box::pin(async move { self.evaluate(request) })
    }

    fn snapshot(&self) -> Option<Arc<dyn PolicyEngine>> {
        let (live, asked) = (Arc::clone(&self.0), Arc::clone(&self.1));
        let version = live.load(Ordering::SeqCst);
        Some(Arc::new(MockPolicyEngine::new(move |request| {
            live.fetch_add(1, Ordering::SeqCst);
            asked.lock().unwrap().push((request.policy.to_owned(), version));
            Ok(Decision::allow())
        })))
    }
}

#[test]
fn two_policies_of_one_call_see_one_snapshot() {
    let asked = Arc::default();
    let engine: Arc<dyn PolicyEngine> = Arc::new(Restless(Arc::default(), Arc::clone(&asked)));
    let router = Router::builder().route("a", Arc::clone(&engine)).route("b", engine).build().unwrap();
    let kest = Kest::builder()
        .identity(MockIdentityProvider::new().unwrap())
        .engine(Router::builder().fallback(router).build().unwrap())
        .without_config()
        .build()
        .unwrap();
    let _scope = kest.enter();
    static SPEC: CallSpec = CallSpec {
        operation: "routed",
        span: "kest.verified.routed",
        function: "tests::routed",
        policies: &["a/one", "b/two"],
        classification: "system",
        source_type: Some("internal"),
        added_taints: &[],
        removed_taints: &[],
        trust_override: None,
        sanitizer: false,
        labels: &[],
        config_seen: None,
    };
    for _ in 0..2 {
        drop(begin_sync(Invocation::new(&SPEC)).unwrap());
    }
    let seen: Vec<_> = asked.lock().unwrap().clone();
    let seen: Vec<_> = seen.iter().map(|(policy, version)| (&**policy, *version)).collect();
    assert_eq!(seen, [("a/one", 0), ("b/two", 0), ("a/one", 2), ("b/two", 2)]);
}
