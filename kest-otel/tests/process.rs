//! Programs that end: their last spans are delivered, in time, and standard output is theirs. Each case is this program
//! once more, as a child.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::print_stdout, reason = "the harness of these tests")]

mod support;

#[cfg(feature = "otlp")]
use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use kest_otel::KestTelemetry;
use support::{Folder, call, call_async, denied, kest, read};

fn main() {
    if let Ok(case) = std::env::var("KEST_OTEL_CASE") {
        return child(&case);
    }
    let tests: &[(&str, fn())] = &[
        ("main_that_returns_delivers", main_that_returns_delivers),
        ("a_runtime_of_one_thread_delivers", a_runtime_of_one_thread_delivers),
        ("a_panic_in_main_delivers", a_panic_in_main_delivers),
        ("the_console_is_for_people_and_standard_output_stays_clean", the_console_is_for_people),
        #[cfg(feature = "otlp")]
        ("headers_of_the_environment_are_sent_and_not_told", headers_of_the_environment),
        #[cfg(feature = "otlp")]
        ("a_collector_that_hangs_holds_nobody_up", a_collector_that_hangs_holds_nobody_up),
    ];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
}

/// What the children do.
fn child(case: &str) {
    let endpoint = std::env::var("KEST_OTEL_ENDPOINT").ok();
    let endpoint = endpoint.as_deref();
    let setup = |exporter: &str| KestTelemetry::setup("shop", exporter, endpoint).unwrap();
    match case {
        "returns" => {
            let _telemetry = setup("file");
            let _scope = kest().enter();
            for _ in 0..3 {
                call("last", || ()).unwrap();
            }
        }
        "one_thread" => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let telemetry = setup("file");
                kest().scope(async { call_async("last", async {}).await.unwrap() }).await;
                drop(telemetry);
            });
        }
        "panics" => {
            let _telemetry = setup("file");
            let _scope = kest().enter();
            call("last", || panic!("on purpose")).unwrap();
        }
        "console" => {
            let _telemetry = setup("console");
            let _scope = kest().enter();
            call("approve", || println!("what the program says")).unwrap();
            call("\u{1b}[31mred\nline", || ()).unwrap();
            denied("pay");
        }
        "env_headers" => {
            tracing_subscriber::fmt()
                .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
                .with_writer(std::io::stderr)
                .init();
            let telemetry = setup("otlp");
            let _scope = kest().enter();
            call("last", || ()).unwrap();
            assert_eq!(telemetry.shutdown().unwrap().lost(), 1);
        }
        "hangs" => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let telemetry = KestTelemetry::builder()
                    .service_name("shop")
                    .exporter("otlp")
                    .unwrap()
                    .endpoint(endpoint.unwrap())
                    .shutdown_limit(Duration::from_millis(300))
                    .install()
                    .unwrap();
                kest().scope(async { call_async("last", async {}).await.unwrap() }).await;
                let begun = Instant::now();
                let error = telemetry.shutdown().unwrap_err();
                println!("{} ms: {error}", begun.elapsed().as_millis());
            });
        }
        other => panic!("no case `{other}`"),
    }
}

fn run(case: &str, endpoint: Option<&str>) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("KEST_OTEL_CASE", case).env_remove("NO_COLOR").env_remove("KEST_OTEL_ENDPOINT");
    if let Some(endpoint) = endpoint {
        command.env("KEST_OTEL_ENDPOINT", endpoint);
    }
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn main_that_returns_delivers() {
    let folder = Folder::new();
    let path = folder.file("spans.jsonl");
    let output = run("returns", Some(&path));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(read(&path).len(), 3);
}

fn a_runtime_of_one_thread_delivers() {
    let folder = Folder::new();
    let path = folder.file("spans.jsonl");
    let output = run("one_thread", Some(&path));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(read(&path).len(), 1);
}

fn a_panic_in_main_delivers() {
    let folder = Folder::new();
    let path = folder.file("spans.jsonl");
    let output = run("panics", Some(&path));
    assert_eq!(output.status.code(), Some(101), "{output:?}");
    assert_eq!(read(&path)[0].text("kest.outcome"), Some("panic"));
}

fn the_console_is_for_people() {
    let output = run("console", None);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stdout), "what the program says\n");
    let lines: Vec<&str> = text(&output.stderr).lines().filter(|line| line.contains(" trace ")).collect();
    assert_eq!(lines.len(), 3, "{}", text(&output.stderr));
    let words: Vec<Vec<&str>> = lines.iter().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0][1..4], ["shop", "ok", "approve"]);
    assert!(lines[0].contains("trust ") && lines[0].contains("spiffe://kest.test/shop"), "{}", lines[0]);
    assert_eq!(words[2][1..4], ["shop", "refused", "pay"]);
    assert!(lines[2].contains("deny"), "{}", lines[2]);
    // Neither colours, where nobody looks, nor what an operation smuggles in.
    assert!(!text(&output.stderr).contains('\u{1b}'), "{}", text(&output.stderr));
}

#[cfg(feature = "otlp")]
fn headers_of_the_environment() {
    let (address, requests) = support::answering(
        "HTTP/1.1 403 Bearer env s3cret\r\ncontent-length: 17\r\nconnection: close\r\n\r\nBearer env s3cret",
    );
    // A proxy would see in plain text what is for this machine.
    let (proxy, proxied) =
        support::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let case = |endpoint: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
            command.env(name, format!("http://{proxy}"));
        }
        command
            .env_remove("NO_PROXY")
            .env_remove("no_proxy")
            .env("KEST_OTEL_CASE", "env_headers")
            .env("KEST_OTEL_ENDPOINT", endpoint)
            .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20env%20s3cret,x-tenant=shop");
        command.output().unwrap()
    };
    let output = case(&format!("http://{address}/v1/traces"));
    assert!(output.status.success(), "{output:?}");
    let head = requests.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(head.contains("authorization: Bearer env s3cret") && head.contains("x-tenant: shop"), "{head}");
    let log = text(&output.stderr);
    assert!(log.contains("spans cannot be delivered") && log.contains("403"), "{log}");
    assert!(!log.contains("s3cret"), "{log}");
    assert!(proxied.try_recv().is_err());
    // Nor do they go anywhere in plain text.
    let output = case("http://collector.example:4317");
    assert!(!output.status.success() && text(&output.stderr).contains("plain text"), "{output:?}");
}

#[cfg(feature = "otlp")]
fn a_collector_that_hangs_holds_nobody_up() {
    // The system takes connections for it, and nobody answers.
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    for (path, port) in
        [("", silent.local_addr().unwrap().port()), ("/v1/traces", silent.local_addr().unwrap().port())]
    {
        let begun = Instant::now();
        let output = run("hangs", Some(&format!("http://127.0.0.1:{port}{path}")));
        assert!(output.status.success(), "{output:?}");
        let said = text(&output.stdout);
        assert!(said.contains("1 of 1 spans were not delivered"), "{output:?}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{said}");
        let took: u64 = said.split(' ').next().unwrap().parse().unwrap();
        assert!((300..5_000).contains(&took), "{said}");
    }
}
