//! Collectors that are not there, hang, or refuse: no call waits for them or is refused, and no token is told. Spec §14.
#![cfg(feature = "otlp")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use kest_otel::{KestTelemetry, Protocol, TelemetryBuilder, TelemetryErrorKind};
use support::{Log, alone, answering, call, kest, wait_for};

const TOKEN: &str = "Bearer very-s3cret";

fn to(address: SocketAddr, protocol: Protocol) -> TelemetryBuilder {
    KestTelemetry::builder()
        .service_name("shop")
        .exporter("otlp")
        .unwrap()
        .endpoint(format!("http://{address}"))
        .protocol(protocol)
        .header("Authorization", TOKEN)
        .timeout(Duration::from_millis(500))
        .shutdown_limit(Duration::from_secs(2))
}

#[test]
fn calls_do_not_wait_for_a_collector_that_hangs() {
    let _alone = alone();
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let telemetry = to(silent.local_addr().unwrap(), protocol).queue(100).batch(10).install().unwrap();
        let scope = kest().enter();
        let begun = Instant::now();
        let body_ran = (0..2_000).filter(|_| call("goes_on", || ()).is_ok()).count();
        let took = begun.elapsed();
        drop(scope);
        assert_eq!(body_ran, 2_000);
        // One batch alone waits for 500 ms; all of them would wait for 100 s.
        assert!(took < Duration::from_secs(30), "{took:?}");
        let begun = Instant::now();
        let ended = telemetry.shutdown();
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        let error = ended.unwrap_err();
        assert_eq!(error.kind(), TelemetryErrorKind::Unfinished);
        assert!(error.to_string().contains("2000 of 2000 spans"), "{error}");
    }
}

#[test]
fn what_is_lost_is_said_once_and_at_the_end_and_tokens_never() {
    let _alone = alone();
    let log = Log::start();
    // An answer that repeats what it was sent, and one to somewhere else.
    let (echo, _) = answering(
        "HTTP/1.1 401 very-s3cret\r\nx-echo: Bearer very-s3cret\r\ncontent-length: 18\r\nconnection: close\r\n\r\n\
         Bearer very-s3cret",
    );
    let builder = to(echo, Protocol::HttpProtobuf);
    assert!(!format!("{builder:?}").contains("s3cret"));
    let telemetry = builder.install().unwrap();
    assert!(!format!("{telemetry:?}").contains("s3cret"));
    let scope = kest().enter();
    for _ in 0..3 {
        call("unseen", || ()).unwrap();
        let error = telemetry.flush().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    }
    drop(scope);
    assert_eq!(telemetry.counts().failed, 3);
    assert_eq!(telemetry.shutdown().unwrap().lost(), 3);
    let text = log.text();
    assert_eq!(text.matches("spans cannot be delivered").count(), 1, "{text}");
    assert!(text.contains("401"), "{text}");
    assert_eq!(text.matches("spans were lost").count(), 1, "{text}");
    assert!(text.contains("lost=3"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");

    // Nor by gRPC, whatever its libraries log.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let telemetry = to(silent.local_addr().unwrap(), Protocol::Grpc).install().unwrap();
    let scope = kest().enter();
    call("unseen", || ()).unwrap();
    drop(scope);
    telemetry.flush().unwrap_err();
    drop(telemetry);
    let text = log.text();
    assert_eq!(text.matches("spans were lost").count(), 2, "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}

#[test]
fn why_and_where_is_said_by_either_protocol() {
    let _alone = alone();
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let telemetry = to(nobody, protocol).install().unwrap();
        let scope = kest().enter();
        call("unseen", || ()).unwrap();
        drop(scope);
        let error = telemetry.flush().unwrap_err();
        let said = std::error::Error::source(&error).unwrap().to_string();
        assert!(said.contains("refused"), "{said}");
        assert!(said.contains(&format!("at `http://{nobody}`")), "{said}");
        assert!(!said.contains("/v1/traces"), "{said}");
    }
}

#[test]
fn a_redirect_takes_no_token_elsewhere() {
    let _alone = alone();
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    other.set_nonblocking(true).unwrap();
    let answer = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{}/v1/traces\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        other.local_addr().unwrap()
    );
    let (address, requests) = answering(answer.leak());
    let telemetry = to(address, Protocol::HttpProtobuf).install().unwrap();
    let scope = kest().enter();
    call("unseen", || ()).unwrap();
    drop(scope);
    telemetry.flush().unwrap_err();
    drop(telemetry);
    let head = requests.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(head.starts_with("POST /v1/traces ") && head.contains(TOKEN), "{head}");
    assert_eq!(other.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_collector_that_comes_later_gets_what_ends_then() {
    let _alone = alone();
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let telemetry = to(port, Protocol::HttpProtobuf).install().unwrap();
    let scope = kest().enter();
    call("early", || ()).unwrap();
    telemetry.flush().unwrap_err();
    let listener = wait_for("the port", || TcpListener::bind(port).ok());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut part = [0; 65_536];
        let _ = stream.read(&mut part).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
    });
    call("late", || ()).unwrap();
    drop(scope);
    telemetry.flush().unwrap();
    server.join().unwrap();
    let counts = telemetry.shutdown().unwrap();
    assert_eq!((counts.ended, counts.exported, counts.failed), (2, 1, 1));
}

#[test]
fn settings_of_collectors_are_checked() {
    let _alone = alone();
    let here = || to(([127, 0, 0, 1], 4317).into(), Protocol::Grpc);
    for (builder, kind, named) in [
        (here().header("a b", "x"), TelemetryErrorKind::Setting, "`a b`"),
        (here().header("a", "s3cret\n"), TelemetryErrorKind::Setting, "header `a`"),
        (here().header("a", "s3crét"), TelemetryErrorKind::Setting, "plain ASCII"),
        (here().header("token-bin", "x"), TelemetryErrorKind::Setting, "token-bin"),
        (
            here().endpoint("https://127.0.0.1:4317").roots_pem("nothing"),
            TelemetryErrorKind::Setting,
            "certificate",
        ),
        (
            here()
                .endpoint("https://127.0.0.1:4317")
                .roots_pem("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            TelemetryErrorKind::Setting,
            "a certificate that is none",
        ),
        (here().endpoint("http://collector.example:4317"), TelemetryErrorKind::Endpoint, "plain text"),
        (here().endpoint("127.0.0.1:4317"), TelemetryErrorKind::Endpoint, "URL"),
    ] {
        let error = builder.install().unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(named), "{error}");
        assert!(!format!("{error:?}").contains("s3cr"), "{error:?}");
    }
}
