//! From one process to collectors that are guarded, go and come back.

use std::time::Duration;

use kest::identity::LocalEd25519Provider;
use kest::policy::MockPolicyEngine;
use kest::telemetry::{KestTelemetry, Protocol, TelemetryBuilder};
use kest::{Kest, kest_verified};
use kest_lab::{Collector, Folder, Lab, Otelcol, OtelcolSettings, Rotel, wait_for};
use opentelemetry::trace::noop::NoopTracerProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde_json::Value;

use crate::alone;

#[kest_verified(policy = "kest/allow_trusted", operation = name)]
fn work(name: &str) -> Result<(), kest::Error> {
    Ok(())
}

#[kest_verified(policy = "orders/charge")]
fn forbidden() -> Result<(), kest::Error> {
    Ok(())
}

fn kest() -> Kest {
    Kest::builder()
        .identity(LocalEd25519Provider::new().unwrap())
        .engine(MockPolicyEngine::allowing(["kest/allow_trusted"]))
        .without_config()
        .build()
        .unwrap()
}

fn to(endpoint: String) -> TelemetryBuilder {
    KestTelemetry::builder().service_name("shop").exporter("otlp").unwrap().endpoint(endpoint)
}

/// Each way to the collector, with the protocol that the address says and with the one that is said.
fn ways(collector: &dyn Collector) -> [(Protocol, String); 2] {
    [(Protocol::Grpc, collector.grpc()), (Protocol::HttpProtobuf, collector.http())]
}

fn both_ways(collector: &dyn Collector) {
    let mut expected = 0;
    for (at, (_, endpoint)) in ways(collector).into_iter().enumerate() {
        let name = format!("way_{at}");
        let telemetry = to(endpoint).install().unwrap();
        let scope = kest().enter();
        work(&name).unwrap();
        forbidden().unwrap_err();
        drop(scope);
        let counts = telemetry.shutdown().unwrap();
        assert_eq!((counts.exported, counts.lost()), (2, 0));
        expected += 2;
        let spans = collector.wait(expected);
        let span = spans.iter().find(|span| span.name == format!("kest.verified.{name}")).unwrap();
        assert_eq!((span.service.as_str(), span.attributes["kest.outcome"].as_str()), ("shop", "ok"));
        assert!(span.attributes["kest.passport"].contains(&span.attributes["kest.signature"]));
        assert_eq!((span.trace.len(), span.id.len(), span.parent.as_str()), (32, 16, ""));
    }
    let refused: Vec<_> =
        collector.spans().into_iter().filter(|span| span.name.ends_with("forbidden")).collect();
    assert_eq!(refused.len(), 2);
    assert!(refused.iter().all(|span| span.attributes["kest.allowed"] == "false"));
}

#[test]
fn rotel_reads_both() {
    let Some(lab) = Lab::from_env() else { return };
    let _alone = alone();
    both_ways(&Rotel::start(&lab));
}

#[test]
fn the_collector_reads_both() {
    let Some(lab) = Lab::from_env() else { return };
    let _alone = alone();
    both_ways(&Otelcol::start(&lab, OtelcolSettings::default()));
}

#[test]
fn tls_and_tokens() {
    let Some(lab) = Lab::from_env() else { return };
    let _alone = alone();
    let collector = Otelcol::start(&lab, OtelcolSettings { tls: true, token: Some("s3cret") });
    let other = Otelcol::start(&lab, OtelcolSettings { tls: true, token: None });
    let mut expected = 0;
    for (protocol, endpoint) in ways(&collector) {
        let to = || to(endpoint.clone()).protocol(protocol).timeout(Duration::from_secs(3));
        let ours = || to().roots_pem(collector.certificate());
        let run = |telemetry: TelemetryBuilder| {
            let telemetry = telemetry.install().unwrap();
            let scope = kest().enter();
            work("guarded").unwrap();
            drop(scope);
            telemetry.shutdown().unwrap().exported
        };
        assert_eq!(run(ours().header("authorization", "Bearer s3cret")), 1, "{protocol:?}");
        assert_eq!(run(ours().header("authorization", "Bearer wrong")), 0, "{protocol:?}");
        assert_eq!(run(ours()), 0, "{protocol:?}");
        let token = |to: TelemetryBuilder| to.header("authorization", "Bearer s3cret");
        assert_eq!(run(token(to())), 0, "{protocol:?}: a certificate that the system does not know");
        assert_eq!(run(token(to().roots_pem(other.certificate()))), 0, "{protocol:?}: the wrong certificate");
        expected += 1;
        assert_eq!(collector.wait(expected).len(), expected);
    }
}

#[test]
fn a_collector_goes_and_comes_back() {
    let Some(lab) = Lab::from_env() else { return };
    let _alone = alone();
    for (at, protocol) in [Protocol::Grpc, Protocol::HttpProtobuf].into_iter().enumerate() {
        let collector = Otelcol::start(&lab, OtelcolSettings::default());
        let (_, endpoint) = ways(&collector)[at].clone();
        let telemetry =
            to(endpoint).protocol(protocol).timeout(Duration::from_millis(500)).install().unwrap();
        let scope = kest().enter();
        work("before").unwrap();
        telemetry.flush().unwrap();
        collector.stop();
        work("lost").unwrap();
        telemetry.flush().unwrap_err();
        collector.start_anew();
        wait_for("the collector takes spans again", Duration::from_secs(60), || {
            work("after").unwrap();
            telemetry.flush().ok()
        });
        drop(scope);
        let counts = telemetry.shutdown().unwrap();
        assert!(counts.lost() >= 1, "{counts:?}");
        let exported = usize::try_from(counts.exported).unwrap();
        let spans = collector.wait(exported);
        assert_eq!(spans.len(), exported, "what counts as delivered was delivered");
        let there = |name: &str| spans.iter().any(|span| span.attributes["kest.operation"] == name);
        assert!(there("before") && !there("lost") && there("after"), "{spans:#?}");
    }
}

/// The same spans, by the file exporter and by way of the collector: its JSON and ours have one form.
#[test]
fn the_file_exporter_writes_what_the_collector_writes() {
    let Some(lab) = Lab::from_env() else { return };
    let _alone = alone();
    let collector = Otelcol::start(&lab, OtelcolSettings::default());
    let folder = Folder::new();
    let path = folder.path().join("ours.jsonl");
    let ours = KestTelemetry::builder().exporter("file").unwrap().endpoint(path.to_str().unwrap());
    let resource = Resource::builder_empty().with_service_name("shop").build();
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_span_processor(ours.span_processor().unwrap())
        .with_span_processor(to(collector.grpc()).span_processor().unwrap())
        .build();
    opentelemetry::global::set_tracer_provider(provider.clone());
    let scope = kest().enter();
    work("root").unwrap();
    work("next").unwrap();
    forbidden().unwrap_err();
    drop(scope);
    provider.shutdown().unwrap();
    opentelemetry::global::set_tracer_provider(NoopTracerProvider::new());
    collector.wait(3);

    let ours: Vec<Value> = std::fs::read_to_string(&path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let theirs = collector.lines();
    let flat = |lines: &[Value]| {
        let mut spans = Vec::new();
        for of_resource in lines.iter().flat_map(|line| line["resourceSpans"].as_array().unwrap()) {
            for of_scope in of_resource["scopeSpans"].as_array().unwrap() {
                for span in of_scope["spans"].as_array().unwrap() {
                    let mut span = span.clone();
                    // Protobuf in JSON leaves out what is empty, or writes it.
                    let fields = span.as_object_mut().unwrap();
                    fields.retain(|_, value| *value != "" && *value != 0);
                    let status = fields["status"].as_object_mut().unwrap();
                    status.retain(|_, value| *value != "" && *value != 0);
                    spans.push((of_resource["resource"].clone(), of_scope["scope"].clone(), span));
                }
            }
        }
        spans.sort_by_key(|(_, _, span)| span["spanId"].to_string());
        spans
    };
    assert_eq!(flat(&ours).len(), 3);
    assert_eq!(flat(&ours), flat(&theirs));
}
