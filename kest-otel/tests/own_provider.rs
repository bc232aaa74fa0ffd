//! A program with a tracer provider of its own, and with `tracing`. Spec §14.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use kest_core::telemetry::has_tracer_provider;
use kest_otel::{KestTelemetry, TelemetryErrorKind};
use opentelemetry::global;
use opentelemetry::trace::noop::NoopTracerProvider;
use opentelemetry::trace::{TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use support::{Folder, alone, call, call_async, kest, named, read};
use tracing_subscriber::layer::SubscriberExt as _;

#[test]
fn the_exporter_is_part_of_it() {
    let _alone = alone();
    let folder = Folder::new();
    let path = folder.file("spans.jsonl");
    let processor =
        KestTelemetry::builder().exporter("file").unwrap().endpoint(path.as_str()).span_processor().unwrap();
    let watch = processor.watch();
    let provider = SdkTracerProvider::builder()
        .with_resource(Resource::builder_empty().with_service_name("theirs").build())
        .with_span_processor(processor)
        .build();
    global::set_tracer_provider(provider.clone());

    let error = KestTelemetry::setup("ours", "console", None).unwrap_err();
    assert_eq!(error.kind(), TelemetryErrorKind::ProviderSet);

    provider.tracer("theirs").in_span("request", |cx| {
        let _scope = kest().enter();
        call("inside", || {
            global::tracer("theirs").in_span("query", |_| ());
        })
        .unwrap();
        assert!(cx.span().span_context().is_valid());
    });
    provider.shutdown().unwrap();
    assert_eq!((watch.counts().ended, watch.counts().exported), (3, 3));
    let spans = read(&path);
    assert!(spans.iter().all(|span| span.service == "theirs"));
    let (request, inside, query) =
        (named(&spans, "request"), named(&spans, "kest.verified.inside"), named(&spans, "query"));
    assert_eq!((request.parent(), inside.parent()), (None, Some(request.id())));
    assert_eq!(query.parent(), Some(inside.id()));
    assert!([inside, query].iter().all(|span| span.trace() == request.trace()));
    global::set_tracer_provider(NoopTracerProvider::new());
}

#[test]
fn asking_whether_there_is_one_leaves_no_span_in_it() {
    let _alone = alone();
    global::set_tracer_provider(NoopTracerProvider::new());
    assert!(!has_tracer_provider());
    let folder = Folder::new();
    let path = folder.file("spans.jsonl");
    let processor = || {
        KestTelemetry::builder().exporter("file").unwrap().endpoint(path.as_str()).span_processor().unwrap()
    };
    for sampler in [Sampler::AlwaysOn, Sampler::AlwaysOff, Sampler::ParentBased(Box::new(Sampler::AlwaysOn))]
    {
        let processor = processor();
        let watch = processor.watch();
        let provider =
            SdkTracerProvider::builder().with_sampler(sampler).with_span_processor(processor).build();
        global::set_tracer_provider(provider.clone());
        assert!(has_tracer_provider());
        KestTelemetry::setup("shop", "console", None).unwrap_err();
        provider.shutdown().unwrap();
        assert_eq!(watch.counts().ended, 0);
    }
    global::set_tracer_provider(NoopTracerProvider::new());
}

#[test]
fn a_provider_that_came_later_stays() {
    let _alone = alone();
    global::set_tracer_provider(NoopTracerProvider::new());
    let folder = Folder::new();
    let (first, later) = (folder.file("first.jsonl"), folder.file("later.jsonl"));
    let telemetry = KestTelemetry::setup("shop", "file", first.as_str()).unwrap();
    let processor = KestTelemetry::builder().exporter("file").unwrap().endpoint(later.as_str());
    let provider =
        SdkTracerProvider::builder().with_span_processor(processor.span_processor().unwrap()).build();
    global::set_tracer_provider(provider.clone());
    drop(telemetry);
    let scope = kest().enter();
    call("kept", || ()).unwrap();
    drop(scope);
    provider.shutdown().unwrap();
    assert_eq!((read(&first).len(), read(&later).len()), (0, 1));
    global::set_tracer_provider(NoopTracerProvider::new());
}

/// A span of `tracing` around a call, and one inside of it: one trace, each the child of what is around it.
#[test]
fn spans_of_tracing_and_of_kest_are_one_trace() {
    let _alone = alone();
    let folder = Folder::new();
    let path = folder.file("spans.jsonl");
    let telemetry = KestTelemetry::setup("shop", "file", path.as_str()).unwrap();
    let layer = tracing_opentelemetry::layer().with_tracer(telemetry.tracer_provider().tracer("shop"));
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        tracing::info_span!("request").in_scope(|| {
            let _scope = kest().enter();
            call("inside", || tracing::info_span!("query").in_scope(|| ())).unwrap();
            call("after", || ()).unwrap();
        });
        tracing::info_span!("async_request").in_scope(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let work = call_async("inside_async", async {
                tokio::task::yield_now().await;
                call("deeper", || ()).unwrap();
            });
            runtime.block_on(kest().scope(work)).unwrap();
        });
    });
    telemetry.shutdown().unwrap();
    let spans = read(&path);
    let request = named(&spans, "request");
    for name in ["kest.verified.inside", "kest.verified.after"] {
        assert_eq!(named(&spans, name).parent(), Some(request.id()), "{name}");
        assert_eq!(named(&spans, name).trace(), request.trace());
    }
    assert_eq!(named(&spans, "query").trace(), request.trace());
    let request = named(&spans, "async_request");
    let inside = named(&spans, "kest.verified.inside_async");
    assert_eq!(inside.parent(), Some(request.id()));
    assert_eq!(named(&spans, "kest.verified.deeper").parent(), Some(inside.id()));
}

#[test]
fn a_provider_that_samples_nothing_costs_no_attributes() {
    let _alone = alone();
    let folder = Folder::new();
    let path = folder.file("spans.jsonl");
    let processor =
        KestTelemetry::builder().exporter("file").unwrap().endpoint(path.as_str()).span_processor().unwrap();
    let watch = processor.watch();
    let provider =
        SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOff).with_span_processor(processor).build();
    global::set_tracer_provider(provider.clone());
    let scope = kest().enter();
    call("unseen", || ()).unwrap();
    drop(scope);
    provider.shutdown().unwrap();
    assert_eq!(watch.counts().ended, 0);
    assert_eq!(std::fs::read(&path).unwrap(), b"");
    global::set_tracer_provider(NoopTracerProvider::new());
}
