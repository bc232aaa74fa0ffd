//! Engines with a server: what goes wrong on the way, and that nothing of it allows.
#![cfg(all(feature = "opa", feature = "cedar-agent"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod server_support;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kest_core::error::PolicyErrorKind::{
    self, Connection, MalformedAnswer, Refused, Status, Throttled, Timeout, TooLarge,
};
use kest_core::policy::Decision;
use kest_providers::policy::{CedarAgentEngine, OpaEngine};
use server_support::ask::{POLICY, ask, ask_async, kind, said};
use server_support::products::{BOTH, Limits};
use server_support::{Reply, Server};

/// Answers that are none, each of which ends by itself.
fn wrong(allow: &str) -> Vec<(&'static str, Reply, PolicyErrorKind)> {
    let ok = "HTTP/1.1 200 OK\r\n";
    let length = allow.len();
    let raw = |text: String| Reply::Last(text.into_bytes());
    let status = |status: u16| Reply::Http(status, allow.to_owned());
    let redirect = "HTTP/1.1 307 X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n";
    let gzip = [
        format!("{ok}Content-Encoding: gzip\r\nContent-Length: 20\r\n\r\n").as_bytes(),
        &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    vec![
        ("500", status(500), Status),
        ("503", status(503), Status),
        ("404", status(404), Status),
        ("201", status(201), Status),
        ("204", Reply::Raw(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()), Status),
        ("a redirect", Reply::Raw(redirect.as_bytes().to_vec()), Status),
        ("401", status(401), Refused),
        ("403", status(403), Refused),
        ("429", status(429), Throttled),
        ("HTML", Reply::json("<html><body>allow: true</body></html>"), MalformedAnswer),
        ("nothing", Reply::json(""), MalformedAnswer),
        ("null", Reply::json("null"), MalformedAnswer),
        ("a text", Reply::json("\"allow\""), MalformedAnswer),
        ("half of JSON", Reply::json(&allow[..length - 1]), MalformedAnswer),
        ("JSON and more", Reply::json(&format!("{allow}{allow}")), MalformedAnswer),
        ("deep JSON", Reply::json(&"[".repeat(100_000)), MalformedAnswer),
        (
            "no UTF-8",
            Reply::Raw([ok.as_bytes(), b"Content-Length: 2\r\n\r\n\xff\xfe"].concat()),
            MalformedAnswer,
        ),
        ("compressed", Reply::Raw(gzip), MalformedAnswer),
        ("half a body", raw(format!("{ok}Content-Length: {}\r\n\r\n{allow}", length + 1)), Connection),
        (
            "half a chunked body",
            raw(format!("{ok}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{allow}\r\n")),
            Connection,
        ),
        (
            "a chunk of no size",
            raw(format!("{ok}Transfer-Encoding: chunked\r\n\r\nzz\r\n{allow}\r\n")),
            Connection,
        ),
        ("half a head", Reply::last("HTTP/1.1 200 OK\r\nContent-Le"), Connection),
        ("no answer", Reply::Last(Vec::new()), Connection),
        ("a reset", Reply::Reset(Vec::new()), Connection),
        (
            "a reset in the body",
            Reply::Reset(format!("{ok}Content-Length: 9999\r\n\r\n{allow}").into_bytes()),
            Connection,
        ),
        ("no HTTP", Reply::last("SSH-2.0-OpenSSH_9.6\r\n"), Connection),
        ("a body alone", Reply::last(allow), Connection),
        (
            "two lengths",
            raw(format!("{ok}Content-Length: 1\r\nContent-Length: {length}\r\n\r\n{allow}")),
            Connection,
        ),
        ("a large body", Reply::json(&" ".repeat(1024 * 1024 + 1)), TooLarge),
        ("a large body that is JSON", Reply::json(&format!("{allow}{}", " ".repeat(1024 * 1024))), TooLarge),
        (
            "a length that is a lie",
            Reply::Silent(format!("{ok}Content-Length: 10000000000000\r\n\r\n{allow}").into_bytes()),
            TooLarge,
        ),
        (
            "chunks without end",
            Reply::Endless(
                format!("{ok}Transfer-Encoding: chunked\r\n\r\n").into_bytes(),
                format!("10000\r\n{}\r\n", " ".repeat(0x10000)).into_bytes(),
            ),
            TooLarge,
        ),
    ]
}

#[test]
fn a_wrong_answer_is_an_error_of_its_kind_and_the_next_question_is_answered() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for product in BOTH {
        let (server, engine) = product.allowing();
        for (name, reply, wanted) in wrong(product.allow()) {
            let asked = server.requests().len();
            server.then(reply.clone());
            let answer = ask(&*engine);
            assert_eq!(kind(&answer), Some(wanted), "{product:?}, {name}: {answer:?}");
            let said = said(answer);
            assert!(said.contains(POLICY) && said.contains(&server.url()), "{said}");
            server.then(reply);
            let answer = runtime.block_on(ask_async(&*engine));
            assert_eq!(kind(&answer), Some(wanted), "{product:?}, {name}: {answer:?}");
            // Nothing was tried twice.
            assert_eq!(server.requests().len(), asked + 2, "{product:?}, {name}");
            assert_eq!(ask(&*engine).unwrap(), Decision::allow(), "{product:?}, {name}");
        }
    }
}

#[test]
fn an_answer_that_does_not_come_in_time_ends_in_time() {
    let time = Duration::from_millis(150);
    let ok = "HTTP/1.1 200 OK\r\n";
    for product in BOTH {
        let server = Server::start(Reply::json(product.allow()));
        let engine = product.engine(&server.url(), Limits { time, ..Limits::default() });
        for (name, reply) in [
            ("nothing", Reply::Silent(Vec::new())),
            ("half a head", Reply::Silent(ok.as_bytes().to_vec())),
            ("a head", Reply::Silent(format!("{ok}Content-Length: 10\r\n\r\n").into_bytes())),
            ("headers one by one", Reply::Endless(ok.into(), b"X".to_vec())),
            (
                "a body byte by byte",
                Reply::Endless(format!("{ok}Content-Length: 9999\r\n\r\n").into(), b" ".to_vec()),
            ),
            ("an answer that is held back", Reply::Held(product.allow().to_owned())),
        ] {
            server.then(reply);
            let begun = Instant::now();
            let answer = ask(&*engine);
            assert_eq!(kind(&answer), Some(Timeout), "{product:?}, {name}: {answer:?}");
            assert!(begun.elapsed() >= time && begun.elapsed() < Duration::from_secs(20), "{name}");
            assert!(said(answer).contains("150ms"), "{name}");
        }
        server.open();
        // Those connections are not used again, and not left open.
        server.wait_for_connections(0);
        assert_eq!(ask(&*engine).unwrap(), Decision::allow());
    }
}

#[test]
fn a_server_that_is_not_there_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    for product in BOTH {
        let engine = product.engine(&format!("http://{address}"), Limits::default());
        let answer = ask(&*engine);
        assert_eq!(kind(&answer), Some(Connection));
        assert!(said(answer).contains("refused"));
    }
}

#[test]
fn a_name_that_nobody_has_is_an_error() {
    // RFC 6761 §6.4: never resolves.
    let engine = OpaEngine::builder()
        .url("http://opa.invalid:8181")
        .allow_plain_http()
        .timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    assert!(matches!(kind(&ask(&engine)), Some(Connection | Timeout)));
}

#[test]
fn what_a_server_sends_unasked_is_no_answer_to_the_next_question() {
    for product in BOTH {
        let server = Server::start(Reply::json(product.deny()));
        let engine = product.engine(&server.url(), Limits::default());
        let answer = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        for _ in 0..100 {
            server.then(Reply::Raw(format!("{}{}", answer(product.deny()), answer(product.allow())).into()));
            assert_eq!(ask(&*engine).unwrap(), Decision::deny());
        }
        // An answer may be announced, RFC 9110 §15.2.
        server.then(Reply::Raw(format!("HTTP/1.1 100 Continue\r\n\r\n{}", answer(product.allow())).into()));
        assert_eq!(ask(&*engine).unwrap(), Decision::allow());
    }
}

#[test]
fn a_hook_may_block_anywhere() {
    for product in BOTH {
        let (_server, engine) = product.allowing();
        let current = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert_eq!(current.block_on(async { ask(&*engine) }).unwrap(), Decision::allow());
        let several =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        assert_eq!(several.block_on(async { ask(&*engine) }).unwrap(), Decision::allow());
        // A run-time that ends takes no connection along.
        drop((current, several));
        assert_eq!(ask(&*engine).unwrap(), Decision::allow());
    }
}

#[test]
fn an_executor_need_not_be_tokio() {
    use std::task::{Context, Poll, Wake, Waker};
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    for product in BOTH {
        let (_server, engine) = product.allowing();
        let mut answer = std::pin::pin!(ask_async(&*engine));
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let answer = loop {
            match answer.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(answer) => break answer,
                Poll::Pending => std::thread::park_timeout(Duration::from_secs(1)),
            }
        };
        assert_eq!(answer.unwrap(), Decision::allow());
    }
}

#[test]
fn an_address_that_cannot_be_used_shows_no_secret() {
    for url in [
        "https://h/?access_token=s3cret",
        "https://h/#s3cret",
        "https://user:s3cret@h/",
        "https://user:s3?cret@h/",
        "http://user:s3cret@example.org/?s3cret",
    ] {
        for error in [OpaEngine::new(url).unwrap_err(), CedarAgentEngine::new(url).unwrap_err()] {
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("s3cret") && !shown.contains("s3?cret"), "{url}: {shown}");
        }
        let (opa, agent) = (OpaEngine::builder().url(url), CedarAgentEngine::builder().url(url));
        let pem = b"-----BEGIN CERTIFICATE-----";
        let shown = format!("{:?} {:?}", opa.root_certificates_pem(pem), agent.root_certificates_pem(pem));
        assert!(!shown.contains("s3cret") && !shown.contains("s3?cret"), "{url}: {shown}");
        assert!(shown.contains("28 bytes") && !shown.contains("45, 45"), "{shown}");
    }
}
