//! The DAG follows the code's own structure (spec §5).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use kest_core::lineage::{Lineage, LineageExt, root_with_passport, with_user};
use opentelemetry::context::FutureExt as _;
use support::{graph, kest, op, shape, sync};
use tokio::sync::oneshot;
use tokio::task::yield_now;

#[test]
fn nested_and_sequential_calls_chain() {
    let kest = kest();
    let scope = kest.enter();
    sync("a", || sync("b", || ()).unwrap()).unwrap();
    sync("c", || ()).unwrap();
    assert_eq!(shape(&scope.passport()), "a; b<a; c<b");
}

#[tokio::test]
async fn overlapping_calls_fork_and_the_next_joins_them() {
    let ((), passport) = kest()
        .scope(async {
            op("r", async {}).await.unwrap();
            let (go, wait) = oneshot::channel::<()>();
            // `b` starts while `a` waits for it, and ends first.
            let a = op("a", async { wait.await.unwrap() });
            let b = async {
                op("b", yield_now()).await.unwrap();
                go.send(()).unwrap();
            };
            tokio::join!(async { a.await.unwrap() }, b);
            op("z", async {}).await.unwrap();
        })
        .with_passport()
        .await;
    assert_eq!(shape(&passport), "a<r; b<r; r; z<a,b");
}

#[tokio::test]
async fn what_ended_before_a_sibling_started_is_its_parent() {
    let ((), passport) = kest()
        .scope(async {
            let (a, b) = tokio::join!(biased; op("a", async {}), op("b", yield_now()));
            a.unwrap();
            b.unwrap();
        })
        .with_passport()
        .await;
    assert_eq!(shape(&passport), "a; b<a");
}

#[tokio::test]
async fn kest_join_always_forks() {
    let (values, passport) = kest()
        .scope(async {
            op("r", async {}).await.unwrap();
            let values = kest_core::join!(op("a", async { 1 }), op("b", async { 2 }), op("c", yield_now()));
            op("z", async {}).await.unwrap();
            (values.0.unwrap(), values.1.unwrap())
        })
        .with_passport()
        .await;
    assert_eq!(values, (1, 2));
    assert_eq!(shape(&passport), "a<r; b<r; c<r; r; z<c,b,a");
}

#[tokio::test]
async fn a_branch_in_which_nothing_happens_changes_nothing() {
    let ((), passport) = kest()
        .scope(async {
            op("r", async {}).await.unwrap();
            let idle = async {}.in_lineage();
            op("a", async {}).await.unwrap();
            idle.await;
            op("b", async {}).await.unwrap();
        })
        .with_passport()
        .await;
    assert_eq!(shape(&passport), "a<r; b<a; r");
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn a_spawned_branch_merges_back_when_it_is_joined() {
    let ((), passport) = kest()
        .scope(async {
            op("r", async {}).await.unwrap();
            let task = kest_core::lineage::spawn(async { op("a", async {}).await.unwrap() });
            op("b", async {}).await.unwrap();
            task.await.unwrap();
            op("z", async {}).await.unwrap();
        })
        .with_passport()
        .await;
    assert_eq!(shape(&passport), "a<r; b<r; r; z<a,b");
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn a_branch_that_outlives_its_parent_flows_to_the_nearest_open_ancestor() {
    let ((), passport) = kest()
        .scope(async {
            let (go, wait) = oneshot::channel::<()>();
            let (done, ended) = oneshot::channel::<()>();
            op("outer", async {
                drop(kest_core::lineage::spawn(async move {
                    wait.await.unwrap();
                    op("late", async {}).await.unwrap();
                    done.send(()).unwrap();
                }));
            })
            .await
            .unwrap();
            op("next", async {}).await.unwrap();
            go.send(()).unwrap();
            ended.await.unwrap();
            // The task sends before its branch closes; yielding once lets it end on this one-threaded runtime.
            yield_now().await;
            op("z", async {}).await.unwrap();
        })
        .with_passport()
        .await;
    assert_eq!(shape(&passport), "late<outer; next<outer; outer; z<late,next");
}

#[test]
fn threads_take_the_lineage_by_hand() {
    let kest = kest();
    let scope = kest.enter();
    sync("r", || ()).unwrap();
    let lineage = Lineage::capture();
    sync("a", || ()).unwrap();
    std::thread::spawn(move || {
        let _in_lineage = lineage.enter();
        sync("t", || ()).unwrap();
    })
    .join()
    .unwrap();
    sync("z", || ()).unwrap();
    assert_eq!(shape(&scope.passport()), "a<r; r; t<r; z<t,a");
}

#[test]
fn a_panic_loses_nothing() {
    let kest = kest();
    let scope = kest.enter();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        sync("a", || {
            sync("b", || ()).unwrap();
            panic!("in the body");
        })
    }));
    assert!(panicked.is_err());
    sync("c", || ()).unwrap();
    assert_eq!(shape(&scope.passport()), "a; b<a; c<b");
}

#[test]
fn a_dropped_future_loses_nothing() {
    let kest = kest();
    let scope = kest.enter();
    {
        let mut call = pin!(op("a", async {
            op("b", async {}).await.unwrap();
            std::future::pending::<()>().await;
        }));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(call.as_mut().poll(&mut cx), Poll::Pending));
    }
    sync("c", || ()).unwrap();
    assert_eq!(shape(&scope.passport()), "a; b<a; c<b");
}

#[test]
fn calls_in_destructors_of_a_cancelled_body_belong_to_it() {
    struct OnDrop;
    impl Drop for OnDrop {
        fn drop(&mut self) {
            sync("cleanup", || ()).unwrap();
        }
    }
    let kest = kest();
    let scope = kest.enter();
    {
        let mut call = pin!(op("a", async {
            let _cleanup = OnDrop;
            std::future::pending::<()>().await;
        }));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(call.as_mut().poll(&mut cx), Poll::Pending));
    }
    assert_eq!(shape(&scope.passport()), "a; cleanup<a");
}

#[tokio::test]
async fn a_bare_spawn_is_a_root_of_its_own_and_a_carried_context_is_not() {
    let ((), passport) = kest()
        .scope(async {
            op("r", async {}).await.unwrap();
            let kest = kest();
            let bare = tokio::spawn(async move {
                root_with_passport(kest.scope(async { op("bare", async {}).await.unwrap() })).await.1
            });
            assert_eq!(shape(&bare.await.unwrap()), "bare");
            tokio::spawn(async { op("carried", async {}).await.unwrap() }.with_current_context())
                .await
                .unwrap();
            op("z", async {}).await.unwrap();
        })
        .with_passport()
        .await;
    assert_eq!(shape(&passport), "carried<r; r; z<carried");
}

#[test]
fn a_stale_context_does_not_hide_what_happened_since() {
    let kest = kest();
    let scope = kest.enter();
    let stale = opentelemetry::Context::current();
    sync("a", || {
        let _attached = stale.attach();
        sync("b", || ()).unwrap();
    })
    .unwrap();
    assert_eq!(shape(&scope.passport()), "a; b<a");
}

#[test]
fn the_context_of_another_request_is_not_mixed_in() {
    let kest = kest();
    let other = {
        let _scope = kest.enter();
        opentelemetry::Context::current()
    };
    let scope = kest.enter();
    sync("a", || {
        let _attached = other.attach();
        sync("b", || ()).unwrap();
    })
    .unwrap();
    assert_eq!(shape(&scope.passport()), "a; b<a");
}

#[test]
fn guards_may_be_dropped_in_any_order() {
    let (outer, inner) = (kest(), kest());
    let first = outer.enter();
    let second = inner.enter();
    drop(first);
    sync("a", || ()).unwrap();
    assert_eq!(shape(&second.passport()), "a");
    drop(second);
    // Nothing is left behind: outside any scope, and there is no `Kest`.
    assert!(kest_core::lineage::get_current_passport().is_none());
    sync("b", || ()).unwrap_err();
}

#[tokio::test]
async fn requests_on_one_thread_do_not_mix() {
    let request = |name: &'static str| {
        let kest = kest();
        async move {
            kest.scope(async move {
                for step in 0..3 {
                    op(&format!("{name}{step}"), yield_now()).await.unwrap();
                    yield_now().await;
                }
            })
            .with_passport()
            .await
            .1
        }
    };
    let (x, y) = tokio::join!(request("x"), request("y"));
    assert_eq!(shape(&x), "x0; x1<x0; x2<x1");
    assert_eq!(shape(&y), "y0; y1<y0; y2<y1");
}

#[tokio::test]
async fn a_denied_call_leaves_no_entry_and_its_body_does_not_run() {
    use kest_core::__private::Invocation;
    let kest = kest();
    let scope = kest.enter();
    sync("a", || ()).unwrap();
    let denied = support::invoke(Invocation::new(support::spec("b")).policies("deny/all"), || {
        panic!("the body ran");
    });
    let error = denied.unwrap_err();
    assert!(error.is_denied() && !error.already_executed());
    assert_eq!(error.denial().unwrap().policy(), "deny/all");
    assert_eq!(shape(&scope.passport()), "a");
}

#[tokio::test]
async fn one_user_for_all_calls_inside() {
    let (user, passport) = root_with_passport(kest().scope(with_user("alice", async {
        op("a", async { kest_core::lineage::get_current_user() }).await.unwrap()
    })))
    .await;
    assert_eq!(user, Some("alice".into()));
    let entry = support::payload(passport.entries()[0].jws());
    assert_eq!(entry["labels"]["kest.identity"], r#"{"user":"alice"}"#);
}

#[tokio::test]
async fn a_self_renewing_task_keeps_no_predecessors() {
    fn next(left: u32, done: oneshot::Sender<()>) {
        let task = async move { if left == 0 { done.send(()).unwrap() } else { next(left - 1, done) } };
        #[cfg(feature = "tokio")]
        drop(kest_core::lineage::spawn(task));
        #[cfg(not(feature = "tokio"))]
        drop(tokio::spawn(task.in_lineage()));
    }
    kest()
        .scope(async {
            let (done, ended) = oneshot::channel();
            next(50_000, done);
            ended.await.unwrap();
        })
        .await;
}

#[test]
fn more_than_256_parents_are_joined_by_snapshots() {
    let kest = kest();
    let scope = kest.enter();
    sync("r", || ()).unwrap();
    let branches: Vec<Lineage> = (0..600).map(|_| Lineage::capture()).collect();
    for (i, branch) in branches.into_iter().enumerate() {
        let entered = branch.enter();
        drop(branch);
        sync(&format!("b{i}"), || ()).unwrap();
        drop(entered);
    }
    sync("z", || ()).unwrap();
    let entries = scope.passport().entries();
    let snapshots =
        entries.iter().filter(|e| support::payload(e.jws())["classification"] == "snapshot").count();
    assert_eq!((entries.len(), snapshots), (1 + 600 + 2 + 1, 2));
    assert!(entries.iter().all(|e| e.parent_hashes().len() <= 256));
    assert_eq!(scope.passport().tips().len(), 1);
}

/// Thousands of tasks on several threads fork and join: every entry once, every link right, nothing mixed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stress_fork_and_join() {
    const REQUESTS: usize = 100;
    const WIDTH: usize = 25;
    const DEPTH: usize = 3;
    let shared = Arc::new(kest());
    let requests: Vec<_> = (0..REQUESTS)
        .map(|request| {
            let kest = Arc::clone(&shared);
            tokio::spawn(async move {
                kest.scope(async move {
                    op(&format!("{request}/root"), async {}).await.unwrap();
                    let branches: Vec<_> = (0..WIDTH)
                        .map(|branch| {
                            tokio::spawn(
                                async move {
                                    for step in 0..DEPTH {
                                        op(&format!("{request}/{branch}/{step}"), yield_now()).await.unwrap();
                                    }
                                }
                                .in_lineage(),
                            )
                        })
                        .collect();
                    for branch in branches {
                        branch.await.unwrap();
                    }
                    op(&format!("{request}/join"), async {}).await.unwrap();
                })
                .with_passport()
                .await
                .1
            })
        })
        .collect();
    for (request, task) in requests.into_iter().enumerate() {
        let passport = task.await.unwrap();
        let graph = graph(&passport);
        assert_eq!(graph.len(), 2 + WIDTH * DEPTH);
        for (name, parents) in &graph {
            let parts: Vec<&str> = name.split('/').collect();
            assert_eq!(parts[0], request.to_string(), "an entry of another request");
            match parts[1..] {
                ["root"] => assert!(parents.is_empty()),
                ["join"] => {
                    let mut expected: Vec<_> =
                        (0..WIDTH).map(|b| format!("{request}/{b}/{}", DEPTH - 1)).collect();
                    let mut found = parents.clone();
                    expected.sort();
                    found.sort();
                    assert_eq!(found, expected);
                }
                [_, "0"] => assert_eq!(parents, &[format!("{request}/root")]),
                [branch, step] => {
                    let before = step.parse::<usize>().unwrap() - 1;
                    assert_eq!(parents, &[format!("{request}/{branch}/{before}")]);
                }
                _ => panic!("unexpected entry {name}"),
            }
        }
    }
}
