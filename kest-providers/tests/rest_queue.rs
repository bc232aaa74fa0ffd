//! Engines with a server: many questions, few connections, and who waits how long.
#![cfg(all(feature = "opa", feature = "cedar-agent"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod server_support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kest_core::error::PolicyErrorKind::{self, Connection, Timeout, TooLarge};
use kest_core::policy::Decision;
use server_support::ask::{ask, ask_async, kind, said};
use server_support::products::{BOTH, Limits, Product};
use server_support::{Reply, Server};

#[test]
fn one_connection_serves_questions_one_after_another() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for product in BOTH {
        let (server, engine) = product.allowing();
        for _ in 0..100 {
            ask(&*engine).unwrap();
            runtime.block_on(ask_async(&*engine)).unwrap();
        }
        assert_eq!(server.accepted(), 1);
        drop(engine);
        server.wait_for_connections(0);
    }
}

#[test]
fn a_server_may_come_back_between_two_questions() {
    for product in BOTH {
        let (server, engine) = product.allowing();
        let address = server.address();
        ask(&*engine).unwrap();
        drop(server);
        assert_eq!(kind(&ask(&*engine)), Some(Connection), "{product:?}");
        let server = Server::start_at(address, Reply::json(product.deny()));
        for _ in 0..10 {
            assert_eq!(ask(&*engine).unwrap(), Decision::deny(), "{product:?}");
        }
        assert_eq!(server.accepted(), 1);
    }
}

#[test]
fn a_connection_that_the_server_closed_meanwhile_is_not_used() {
    for product in BOTH {
        let (server, engine) = product.allowing();
        for _ in 0..50 {
            let whole = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}",
                product.deny().len(),
                product.deny()
            );
            // The answer does not say that the connection ends.
            server.then(Reply::Last(whole.into_bytes()));
            assert_eq!(ask(&*engine).unwrap(), Decision::deny());
            server.wait_for_connections(0);
            assert_eq!(ask(&*engine).unwrap(), Decision::allow());
        }
    }
}

#[test]
fn a_question_that_nobody_waits_for_frees_its_place() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    for product in BOTH {
        let server = Server::start(Reply::json(product.allow()));
        let engine = product.engine(&server.url(), Limits { connections: 1, ..Limits::default() });
        for _ in 0..5 {
            let asked = server.requests().len();
            server.then(Reply::Silent(Vec::new()));
            let under_way = runtime.spawn({
                let engine = Arc::clone(&engine);
                async move { ask_async(&*engine).await }
            });
            server.wait_for_requests(asked + 1);
            under_way.abort();
            assert!(runtime.block_on(under_way).unwrap_err().is_cancelled());
            assert_eq!(ask(&*engine).unwrap(), Decision::allow());
        }
        // The last one's alone.
        server.wait_for_connections(1);
    }
}

#[test]
fn questions_wait_their_turn_and_not_for_ever() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    for product in BOTH {
        let server = Server::start(Reply::Held(product.allow().to_owned()));
        let limits = Limits { queue: Duration::from_millis(100), connections: 2, ..Limits::default() };
        let engine = product.engine(&server.url(), limits);
        let under_way: Vec<_> = (0..2)
            .map(|_| {
                let engine = Arc::clone(&engine);
                runtime.spawn(async move { ask_async(&*engine).await })
            })
            .collect();
        server.wait_for_requests(2);
        let answer = ask(&*engine);
        assert_eq!(kind(&answer), Some(Timeout));
        assert!(said(answer).contains("its turn did not come within 100ms behind 2 requests"));
        server.open();
        for answer in under_way {
            assert_eq!(runtime.block_on(answer).unwrap().unwrap(), Decision::allow());
        }
        assert_eq!(ask(&*engine).unwrap(), Decision::allow());
        assert_eq!(server.requests().len(), 3);
    }
}

#[test]
fn a_thousand_questions_at_once_share_few_connections() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    for product in BOTH {
        let server = Server::start(Reply::json(product.allow()));
        let engine = product.engine(&server.url(), Limits { connections: 8, ..Limits::default() });
        for _ in 0..2 {
            let all: Vec<_> = (0..1_000)
                .map(|_| {
                    let engine = Arc::clone(&engine);
                    runtime.spawn(async move { ask_async(&*engine).await })
                })
                .collect();
            for answer in all {
                assert_eq!(runtime.block_on(answer).unwrap().unwrap(), Decision::allow());
            }
        }
        assert_eq!(server.requests().len(), 2_000);
        assert!(server.most() <= 8 && server.accepted() <= 8, "{} {}", server.most(), server.accepted());
    }
}

#[test]
fn for_ever_is_a_time_limit() {
    for product in BOTH {
        let server = Server::start(Reply::json(product.allow()));
        let limits = Limits { time: Duration::MAX, queue: Duration::MAX, ..Limits::default() };
        assert_eq!(ask(&*product.engine(&server.url(), limits)).unwrap(), Decision::allow(), "{product:?}");
    }
}

#[test]
fn who_waits_behind_requests_that_fail_does_not_wait_in_line() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    for product in BOTH {
        let server = Server::start(Reply::Silent(Vec::new()));
        let limits = Limits { time: Duration::from_millis(500), connections: 2, ..Limits::default() };
        let engine = product.engine(&server.url(), limits);
        let all: Vec<_> = (0..100)
            .map(|_| {
                let engine = Arc::clone(&engine);
                runtime.spawn(async move { ask_async(&*engine).await })
            })
            .collect();
        let mut waited = 0;
        for answer in all {
            let answer = runtime.block_on(answer).unwrap();
            assert_eq!(kind(&answer), Some(Timeout), "{product:?}");
            waited += usize::from(said(answer).contains("it has answered nobody for 500ms"));
        }
        // Two at first, two for those who came a little later, and some for a slow machine.
        assert!(waited >= 90 && server.requests().len() <= 10, "{waited} {}", server.requests().len());
        server.always(Reply::json(product.allow()));
        assert_eq!(ask(&*engine).unwrap(), Decision::allow(), "{product:?}");
    }
}

/// What so many questions come to that are asked at once and wait in line for longer than one of them may take.
fn in_line(product: Product, server: &Server, count: usize) -> Vec<Option<PolicyErrorKind>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let limits = Limits { time: Duration::from_secs(1), connections: 1, ..Limits::default() };
    let engine = product.engine(&server.url(), limits);
    let begun = Instant::now();
    let all: Vec<_> = (0..count)
        .map(|_| {
            let engine = Arc::clone(&engine);
            runtime.spawn(async move { ask_async(&*engine).await })
        })
        .collect();
    let answers = all.into_iter().map(|answer| kind(&runtime.block_on(answer).unwrap())).collect();
    assert!(begun.elapsed() > Duration::from_millis(1500), "{:?}", begun.elapsed());
    assert_eq!(server.requests().len(), count, "{product:?}");
    answers
}

const SLOW: Duration = Duration::from_millis(50);

#[test]
fn a_failure_between_answers_sends_nobody_away() {
    for product in BOTH {
        let server = Server::start(Reply::json(product.allow()));
        let (allow, length) = (product.allow(), product.allow().len());
        let whole = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{allow}");
        for _ in 0..20 {
            server.then(Reply::Slow(SLOW, whole.clone().into_bytes()));
            server.then(Reply::Slow(SLOW, whole.clone().into_bytes()));
            server.then(Reply::Reset(Vec::new()));
        }
        let failed: Vec<_> = in_line(product, &server, 60).into_iter().flatten().collect();
        assert_eq!(failed, [Connection; 20], "{product:?}");
    }
}

#[test]
fn a_server_whose_answers_are_too_large_does_answer() {
    for product in BOTH {
        let long = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n".to_vec();
        let server = Server::start(Reply::Slow(SLOW, long));
        assert_eq!(in_line(product, &server, 40), [Some(TooLarge); 40], "{product:?}");
    }
}
