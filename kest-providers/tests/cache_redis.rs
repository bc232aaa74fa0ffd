//! The cache on Redis: what it refuses, and what servers do that are none (spec §12). A real server is the lab's.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use kest_core::claim::{ClaimCache as _, ClaimId, TTL};
use kest_core::error::{PropagationError, PropagationErrorKind};
use kest_providers::cache::RedisCache;

/// Serves each connection with a function.
fn serve(each: impl Fn(TcpStream) + Send + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let each = each.clone();
            thread::spawn(move || each(stream));
        }
    });
    address
}

/// A server that takes the greeting, and answers the commands of the cache as it is told to.
fn answering(answer: &'static [u8]) -> SocketAddr {
    serve(move |mut stream| {
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..read]).to_uppercase();
            let greeting = text.matches("SETINFO").count();
            let out = if greeting > 0 { b"+OK\r\n".repeat(greeting) } else { answer.to_vec() };
            if stream.write_all(&out).is_err() {
                return;
            }
        }
    })
}

fn cache(address: SocketAddr) -> RedisCache {
    RedisCache::builder(format!("redis://{address}")).timeout(Duration::from_millis(400)).build().unwrap()
}

fn get(address: SocketAddr) -> PropagationError {
    cache(address).get(&ClaimId::random()).unwrap_err()
}

#[test]
fn answers_of_a_server_are_read_as_what_they_are() {
    assert_eq!(&*cache(answering(b"$2\r\n[]\r\n")).get(&ClaimId::random()).unwrap().unwrap(), "[]");
    assert!(cache(answering(b"$0\r\n\r\n")).get(&ClaimId::random()).unwrap().is_none());
    cache(answering(b"+OK\r\n")).put(&ClaimId::random(), "[]", TTL).unwrap();
    let taken = cache(answering(b"$-1\r\n")).put(&ClaimId::random(), "[]", TTL).unwrap_err();
    assert!(taken.to_string().contains("another passport under this claim"), "{taken}");
}

#[test]
fn what_is_no_answer_is_an_error_and_shows_nothing() {
    for (answer, says) in [
        (&b"$2\r\n\xff\xfe\r\n"[..], "no text"),
        (b":1\r\n", "another kind than was asked for"),
        (b"+OK\r\n", "another kind than was asked for"),
        (b"*2\r\n:1\r\n:2\r\n", "another kind than was asked for"),
        (b"-NOAUTH kest.claim.s3cret\r\n", "refused with the error `NOAUTH`"),
        (b"-WRONGTYPE kest.claim.s3cret\r\n", "refused with the error `WRONGTYPE`"),
        (b"-WRONGPASS s3cret\r\n", "refused with the error `WRONGPASS`"),
        (b"-ERR s3cret\r\n", "refused with the error `ERR`"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "redis at"),
        (b"\0\0\0\0\r\n", "redis at"),
        (b"$x\r\n", "redis at"),
    ] {
        let error = get(answering(answer));
        assert_eq!(error.kind(), PropagationErrorKind::Cache, "{error}");
        let text = error.to_string();
        assert!(text.contains(says) && !text.contains("s3cret") && !text.contains("kest.claim"), "{text}");
    }
    let error = cache(answering(b":1\r\n")).put(&ClaimId::random(), "[]", TTL).unwrap_err();
    assert_eq!(error.kind(), PropagationErrorKind::Cache);
}

#[test]
fn a_claimed_size_allocates_nothing_and_ends_with_the_time() {
    for answer in [
        &b"$1099511627776\r\nx"[..],
        b"$9223372036854775807\r\nx",
        b"*1099511627776\r\n",
        b"*9223372036854775807\r\n",
        b"%4611686018427387903\r\n",
        b"$100\r\nx",
    ] {
        let begun = Instant::now();
        let error = get(answering(answer));
        assert_eq!(error.kind(), PropagationErrorKind::Cache, "{error}");
        assert!(begun.elapsed() < Duration::from_secs(30), "the time is over some time");
    }
}

#[test]
fn a_passport_beyond_the_limit_is_refused_both_ways() {
    let small = |address| RedisCache::builder(format!("redis://{address}")).value_bytes(3).build().unwrap();
    let error = small(answering(b"$4\r\n[ab]\r\n")).get(&ClaimId::random()).unwrap_err();
    assert_eq!(error.kind(), PropagationErrorKind::TooLarge);
    let cache = small(answering(b"+OK\r\n"));
    for text in ["[ab]", ""] {
        let error = cache.put(&ClaimId::random(), text, TTL).unwrap_err();
        assert_eq!(error.kind(), PropagationErrorKind::TooLarge);
        assert!(error.to_string().contains("`value_bytes`"), "{error}");
    }
}

#[test]
fn a_server_that_hangs_or_is_not_there_is_an_error_in_time() {
    let (held, connections) = mpsc::channel();
    let silent = serve(move |stream| held.send(stream).unwrap());
    let error = get(silent);
    assert!(error.to_string().contains("did not answer within"), "{error}");
    assert!(connections.recv_timeout(Duration::from_secs(10)).is_ok());
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = get(gone);
    assert_eq!(error.kind(), PropagationErrorKind::Cache);
    let closing = serve(drop);
    assert_eq!(get(closing).kind(), PropagationErrorKind::Cache);
}

#[test]
fn a_cache_outlives_a_server_that_failed() {
    let failed = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = failed.clone();
    let address = serve(move |mut stream| {
        // The first three connections end at once.
        if count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 3 {
            return;
        }
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut bytes) {
            let greeting = String::from_utf8_lossy(&bytes[..read]).to_uppercase().matches("SETINFO").count();
            let out = if greeting > 0 { b"+OK\r\n".repeat(greeting) } else { b"$2\r\n[]\r\n".to_vec() };
            stream.write_all(&out).unwrap();
        }
    });
    let cache = cache(address);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match cache.get(&ClaimId::random()) {
            Ok(text) => break assert_eq!(text.as_deref(), Some("[]")),
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    }
    assert!(failed.load(std::sync::atomic::Ordering::SeqCst) > 3);
}

#[test]
fn addresses_that_are_not_believed() {
    for (url, says) in [
        ("", "is no URL of Redis"),
        ("http://127.0.0.1", "is no URL of Redis"),
        ("redis://s3cret@127.0.0.1:x", "is no URL of Redis"),
        ("redis://10.1.2.3:6379", "`in_the_clear()`"),
        ("redis://u:s3cret@cache.internal", "`in_the_clear()`"),
        ("redis://127.0.0.1/?protocol=resp3", "has a query or a fragment"),
        ("rediss://u:s3cret@127.0.0.1/#insecure", "has a query or a fragment"),
        ("redis+unix:///tmp/x.sock", "is neither `redis://` nor `rediss://`"),
        ("unix:///tmp/x.sock", "is neither `redis://` nor `rediss://`"),
    ] {
        let error = RedisCache::builder(url).build().unwrap_err();
        assert_eq!(error.kind(), PropagationErrorKind::Cache);
        let text = error.to_string();
        assert!(text.contains(says) && !text.contains("s3cret"), "{url}: {text}");
    }
    let error = RedisCache::builder("rediss://cache").root_certificates("x").build().unwrap_err();
    assert!(error.to_string().contains("no certificate in PEM"), "{error}");
    assert!(RedisCache::builder("redis://cache.internal").in_the_clear().build().is_ok());
    assert!(RedisCache::builder("rediss://cache.internal").build().is_ok());
}

#[test]
fn nothing_shows_a_password() {
    let builder = RedisCache::builder("redis://u:s3cret@127.0.0.1:1/0").user("user").password("s3cret too");
    assert!(!format!("{builder:?}").contains("s3cret"));
    let cache = builder.build().unwrap();
    assert!(cache.is_shared());
    let error = cache.get(&ClaimId::random()).unwrap_err();
    for shown in [format!("{cache:?}"), format!("{error:?}"), error.to_string()] {
        assert!(!shown.contains("s3cret") && shown.contains("`***@127.0.0.1:1/0`"), "{shown}");
    }
}

#[tokio::test]
async fn it_answers_on_any_run_time() {
    let cache = cache(answering(b"$2\r\n[]\r\n"));
    let claim = ClaimId::random();
    assert_eq!(cache.get(&claim).unwrap().as_deref(), Some("[]"), "blocking, on a thread of a run-time");
    assert_eq!(cache.get_async(&claim).await.unwrap().as_deref(), Some("[]"));
}
