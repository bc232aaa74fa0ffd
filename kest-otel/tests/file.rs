//! Spans in a file: lines of OTLP in JSON. Spec §14.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Waker};

use kest_core::Kest;
use kest_core::lineage::get_current_passport;
use kest_otel::{Exporter, KestTelemetry, PassportAttribute, TelemetryErrorKind};
use serde_json::{Value, json};
use support::{Folder, alone, builder, call, call_async, denied, failing, kest, named, read};

fn payload(jws: &str) -> Value {
    let payload = jws.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64_simd::URL_SAFE_NO_PAD.decode_to_vec(payload).unwrap()).unwrap()
}

#[test]
fn a_span_has_what_the_entry_has() {
    let _alone = alone();
    let folder = Folder::new();
    let path = folder.file("spans.jsonl");
    let telemetry = KestTelemetry::setup("shop", "file", path.as_str()).unwrap();
    let passport = kest().enter_scope(|| {
        call("receive", || call("charge", || get_current_passport().unwrap()).unwrap()).unwrap()
    });
    let counts = telemetry.shutdown().unwrap();
    assert_eq!((counts.ended, counts.exported, counts.lost()), (2, 2, 0));

    let spans = read(&path);
    assert_eq!(spans.len(), 2);
    let (receive, charge) = (named(&spans, "kest.verified.receive"), named(&spans, "kest.verified.charge"));
    assert_eq!((receive.trace(), receive.parent()), (charge.trace(), None));
    assert_eq!(charge.parent(), Some(receive.id()));
    assert!(receive.trace().len() == 32 && receive.id().len() == 16);
    for (span, entry) in [receive, charge].into_iter().zip(passport.entries()) {
        let signed = payload(entry.jws());
        assert_eq!((&span.service, &span.scope), (&json!("shop"), &json!("kest.core")));
        assert_eq!(span.text("kest.signature"), Some(entry.jws()));
        assert_eq!(span.attribute("kest.entry_id"), Some(&signed["entry_id"]));
        assert_eq!(span.attribute("kest.operation"), Some(&signed["operation"]));
        assert_eq!(span.attribute("kest.parent_hash"), Some(&signed["parent_ids"][0]));
        assert_eq!(span.attribute("kest.workload_id"), Some(&json!("spiffe://kest.test/shop")));
        assert_eq!(span.text("kest.trust_score").unwrap(), signed["trust_score"].to_string());
        assert_eq!(span.text("kest.policy_ids"), Some("allow"));
        assert_eq!(span.attribute("kest.allowed"), Some(&json!(true)));
        assert_eq!(span.text("kest.outcome"), Some("ok"));
        assert_eq!(signed["otel_context"]["trace_id"], span.trace());
        assert_eq!(signed["otel_context"]["span_id"], span.id());
        let at = |name: &str| span.span[name].as_str().unwrap().parse::<u64>().unwrap();
        assert!(at("startTimeUnixNano") <= at("endTimeUnixNano"));
        assert!(at("startTimeUnixNano") / 1_000_000 <= signed["timestamp_ms"].as_u64().unwrap());
        assert_eq!((&span.span["kind"], &span.span["status"]), (&json!(1), &json!({ "code": 0 })));
    }
    // Of the root alone, and what it was then: its own entry.
    let entries: Vec<String> = serde_json::from_str(receive.text("kest.passport").unwrap()).unwrap();
    assert_eq!(entries, [passport.entries()[0].jws()]);
    assert_eq!(charge.attribute("kest.passport"), None);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn every_end_of_a_call_is_told() {
    let _alone = alone();
    let folder = Folder::new();
    let path = folder.file("spans.jsonl");
    let telemetry = KestTelemetry::setup("shop", Exporter::File, path.as_str()).unwrap();
    let _scope = kest().enter();
    failing("fails");
    catch_unwind(AssertUnwindSafe(|| call("panics", || panic!("on purpose")))).unwrap_err();
    let mut cancelled = Box::pin(call_async("cancelled", std::future::pending::<()>()));
    let _ = cancelled.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    drop(cancelled);
    let refusal = denied("refused");
    drop(telemetry);

    let spans = read(&path);
    for (operation, outcome) in [("fails", "error"), ("panics", "panic"), ("cancelled", "cancelled")] {
        let span = named(&spans, &format!("kest.verified.{operation}"));
        assert_eq!(span.text("kest.outcome"), Some(outcome));
        assert_eq!(span.attribute("kest.allowed"), Some(&json!(true)));
        assert_eq!(span.span["status"], json!({ "code": 2, "message": outcome }));
    }
    let refused = named(&spans, "kest.verified.refused");
    assert_eq!(refused.attribute("kest.allowed"), Some(&json!(false)));
    assert_eq!(refused.span["status"], json!({ "code": 2, "message": refusal.to_string() }));
    // Who was refused, and what; and nothing that only an allowed call has.
    assert_eq!(refused.text("kest.operation"), Some("refused"));
    assert_eq!(refused.text("kest.workload_id"), Some("spiffe://kest.test/shop"));
    assert!(
        refused.attribute("kest.trust_score").is_some() && refused.attribute("kest.parent_hash").is_some()
    );
    for absent in ["kest.signature", "kest.entry_id", "kest.policy_ids", "kest.passport", "kest.outcome"] {
        assert_eq!(refused.attribute(absent), None, "{absent}");
    }
}

#[test]
fn which_spans_have_the_passport() {
    let _alone = alone();
    let folder = Folder::new();
    let config = |passport: &str| entry_config(&format!("[telemetry]\npassport = \"{passport}\"\n"));
    let run = |kest: Kest, set: Option<PassportAttribute>| {
        let path = folder.file("spans.jsonl");
        let mut telemetry = KestTelemetry::builder().service_name("shop").exporter("file").unwrap();
        if let Some(set) = set {
            telemetry = telemetry.passport(set);
        }
        let telemetry = telemetry.endpoint(path.as_str()).install().unwrap();
        kest.enter_scope(|| call("root", || call("inner", || ()).unwrap()).unwrap());
        drop(telemetry);
        let spans = read(&path);
        fs::remove_file(&path).unwrap();
        ["root", "inner"].map(|name| {
            let passport = named(&spans, &format!("kest.verified.{name}")).text("kest.passport");
            passport.map(|text| serde_json::from_str::<Vec<String>>(text).unwrap().len())
        })
    };
    use PassportAttribute::{Always, Never, Root};
    let (root, always, never) = ([Some(1), None], [Some(1), Some(2)], [None, None]);
    assert_eq!(run(builder().build().unwrap(), None), root);
    assert_eq!(run(builder().passport_attribute(Always).build().unwrap(), None), always);
    assert_eq!(run(builder().passport_attribute(Never).build().unwrap(), None), never);
    assert_eq!(run(builder().config(config("always")).build().unwrap(), None), always);
    assert_eq!(run(builder().config(config("never")).build().unwrap(), None), never);
    // The nearest says so: the builder, its configuration, the process.
    let both = builder().config(config("always")).passport_attribute(Never);
    assert_eq!(run(both.build().unwrap(), None), never);
    assert_eq!(run(builder().build().unwrap(), Some(Never)), never);
    assert_eq!(run(builder().config(config("root")).build().unwrap(), Some(Never)), root);
    assert_eq!(run(builder().build().unwrap(), Some(Always)), always);
    assert_eq!(run(builder().build().unwrap(), Some(Root)), root);
}

fn entry_config(text: &str) -> kest_core::config::Config {
    kest_core::config::Config::parse(text).unwrap()
}

#[test]
fn a_file_is_gone_on_with_and_a_torn_line_stays_by_itself() {
    let _alone = alone();
    let folder = Folder::new();
    let path = folder.file("spans.jsonl");
    let once = |operation: &str| {
        let telemetry = KestTelemetry::setup("shop", "file", path.as_str()).unwrap();
        kest().enter_scope(|| call(operation, || ()).unwrap());
        assert_eq!(telemetry.shutdown().unwrap().exported, 1);
    };
    once("first");
    let torn = &fs::read_to_string(&path).unwrap()[..40];
    fs::write(&path, format!("{}{torn}", fs::read_to_string(&path).unwrap())).unwrap();
    once("second");
    once("third");
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[1], torn);
    for (line, operation) in [(0, "first"), (2, "second"), (3, "third")] {
        assert_eq!(support::seen(lines[line]).text("kest.operation"), Some(operation));
    }
}

#[test]
fn a_file_of_something_else_is_refused_and_left_as_it_is() {
    let _alone = alone();
    let folder = Folder::new();
    let path = folder.file("other.jsonl");
    for other in [
        "x",
        " ",
        "[]",
        "{}",
        "{\"kest\":\"audit\"}\n",
        "{\"resourceLogs\":[]}\n",
        "{\"resourceSpans\":{}}\n",
        "\n\nx\n{\"resourceSpans\":[",
        "\r\n",
        "{\n  \"name\": \"shop\"\n}\n",
        "{\n\n}",
        "{\n  \"resourceSpans\": []\n}\n",
    ] {
        fs::write(&path, other).unwrap();
        let error = KestTelemetry::setup("shop", "file", path.as_str()).unwrap_err();
        assert_eq!(error.kind(), TelemetryErrorKind::Open, "{other:?}");
        assert!(error.to_string().contains("something else; name another file"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), other);
    }
    // What a crash, a full disk or a collector leaves is gone on with.
    for ours in [
        "",
        "{",
        "{\"resourceSpans\":[",
        "\n",
        "{\"res\n",
        "\n\n{\"resourceSpans\":[{}]}\n",
        "{\n\n{\"resourceSpans\":[{}]}\n",
        "{\"res\n{\"resourceSp",
    ] {
        fs::write(&path, ours).unwrap();
        let telemetry = KestTelemetry::setup("shop", "file", path.as_str()).unwrap();
        kest().enter_scope(|| call("added", || ()).unwrap());
        telemetry.shutdown().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with(ours) && text.lines().last().unwrap().contains("kest.verified.added"),
            "{text}"
        );
    }
}

#[test]
fn the_configuration_opens_it() {
    let _alone = alone();
    let folder = Folder::new();
    let config = folder.file("kest.toml");
    fs::write(&config, "[telemetry]\nexporter = \"file\"\nservice_name = \"shop\"\nendpoint = \"s.jsonl\"")
        .unwrap();
    let config = kest_core::config::Config::read(config.as_ref()).unwrap();
    let telemetry = KestTelemetry::from_config(&config).unwrap().unwrap();
    builder().config(config).build().unwrap().enter_scope(|| call("configured", || ()).unwrap());
    telemetry.flush().unwrap();
    // The path is relative to the file.
    assert_eq!(read(&folder.file("s.jsonl")).len(), 1);
    drop(telemetry);
    assert!(
        KestTelemetry::from_config(&entry_config("[telemetry]\npassport = \"never\"")).unwrap().is_none()
    );
}

#[test]
fn there_is_one_provider_in_a_process() {
    let _alone = alone();
    let folder = Folder::new();
    let path = folder.file("spans.jsonl");
    let first = KestTelemetry::setup("shop", "file", path.as_str()).unwrap();
    let other = folder.file("other.jsonl");
    let error = KestTelemetry::setup("shop", "file", other.as_str()).unwrap_err();
    assert_eq!(error.kind(), TelemetryErrorKind::ProviderSet);
    assert!(error.to_string().contains("span_processor"), "{error}");
    assert!(!std::path::Path::new(&other).exists(), "nothing was opened");
    kest().enter_scope(|| call("kept", || ()).unwrap());
    first.shutdown().unwrap();
    assert_eq!(read(&path).len(), 1);
    // Nobody has one now.
    let second = KestTelemetry::setup("shop", "file", path.as_str()).unwrap();
    kest().enter_scope(|| call("again", || ()).unwrap());
    second.shutdown().unwrap();
    assert_eq!(read(&path).len(), 2);
}

#[test]
fn what_cannot_be_is_refused() {
    let _alone = alone();
    let folder = Folder::new();
    let path = folder.file("spans.jsonl");
    let setup = |exporter: &str, endpoint: Option<&str>| {
        KestTelemetry::setup("shop", exporter, endpoint).unwrap_err()
    };
    let file =
        || KestTelemetry::builder().service_name("shop").exporter("file").unwrap().endpoint(path.as_str());
    use TelemetryErrorKind::{Endpoint, Open, Setting, UnknownExporter};
    let folder_path = folder.path().to_str().unwrap();
    for (error, kind, named) in [
        (setup("jaeger", None), UnknownExporter, "`otlp`, `file`, `sqlite` or `console`"),
        (setup("", None), UnknownExporter, "unknown exporter"),
        (setup("File", None), UnknownExporter, "`File`"),
        (setup("file", None), Endpoint, "path"),
        (setup("file", Some("")), Endpoint, "path"),
        (setup("file", Some("http://127.0.0.1:4317")), Endpoint, "URL"),
        (setup("file", Some("/no/such/folder/spans")), Open, "/no/such/folder/spans"),
        (setup("file", Some(folder_path)), Open, folder_path),
        (setup("console", Some("x")), Setting, "take it away"),
        (KestTelemetry::setup(" ", "file", path.as_str()).unwrap_err(), Setting, "service name"),
        (KestTelemetry::builder().service_name("s").install().unwrap_err(), Setting, "no exporter"),
        (file().sampling(1.5).install().unwrap_err(), Setting, "1.5"),
        (file().sampling(f64::NAN).install().unwrap_err(), Setting, "NaN"),
        (file().queue(0).install().unwrap_err(), Setting, "queue"),
        (file().batch(0).install().unwrap_err(), Setting, "batch"),
        (file().header("a", "s3cret").install().unwrap_err(), Setting, "header"),
        (file().protocol(kest_otel::Protocol::Grpc).install().unwrap_err(), Setting, "protocol"),
        (file().roots_pem("x").install().unwrap_err(), Setting, "roots_pem"),
        (file().timeout(std::time::Duration::ZERO).install().unwrap_err(), Setting, "timeout"),
    ] {
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(named), "{error}");
        assert!(!format!("{error:?}").contains("s3cret"));
    }
    // None of them left a provider behind.
    KestTelemetry::setup("shop", "file", path.as_str()).unwrap().shutdown().unwrap();
}

#[test]
fn sampling_leaves_whole_traces_out() {
    let _alone = alone();
    let folder = Folder::new();
    let path = folder.file("spans.jsonl");
    let with = |ratio| {
        let telemetry = KestTelemetry::builder().service_name("shop").exporter("file").unwrap();
        let telemetry = telemetry.endpoint(path.as_str()).sampling(ratio).install().unwrap();
        for _ in 0..20 {
            kest().enter_scope(|| call("root", || call("inner", || ()).unwrap()).unwrap());
        }
        telemetry.shutdown().unwrap()
    };
    assert_eq!(with(0.0).ended, 0);
    assert_eq!(with(1.0).exported, 40);
    let some = with(0.5);
    assert_eq!((some.exported % 2, some.lost()), (0, 0));
}

trait EnterScope {
    /// Runs `body` as a job of its own.
    fn enter_scope<R>(&self, body: impl FnOnce() -> R) -> R;
}

impl EnterScope for Kest {
    fn enter_scope<R>(&self, body: impl FnOnce() -> R) -> R {
        let _scope = self.enter();
        body()
    }
}

#[cfg(not(all(feature = "otlp", feature = "sqlite")))]
#[test]
fn an_exporter_that_is_not_built_in_is_named() {
    let _alone = alone();
    for (exporter, is_there) in [("otlp", cfg!(feature = "otlp")), ("sqlite", cfg!(feature = "sqlite"))] {
        if !is_there {
            let error = KestTelemetry::setup("shop", exporter, "x").unwrap_err();
            assert_eq!(error.kind(), TelemetryErrorKind::MissingFeature);
            assert!(error.to_string().contains(&format!("the feature `{exporter}`")), "{error}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_somebody_else_may_have_put_there_is_refused() {
    use std::os::unix::fs::{MetadataExt as _, chown, symlink};
    let _alone = alone();
    let folder = Folder::new();
    let refused = |path: &str| {
        let error = KestTelemetry::setup("shop", "file", path).unwrap_err();
        assert_eq!(error.kind(), TelemetryErrorKind::Open);
        error.to_string()
    };
    let (link, target) = (folder.file("link.jsonl"), folder.file("target.jsonl"));
    symlink(&target, &link).unwrap();
    assert!(refused(&link).contains("symbolic link"));
    assert!(fs::metadata(&target).is_err(), "nothing was made behind it");
    fs::write(&target, "").unwrap();
    assert!(refused(&link).contains("symbolic link"));
    // Only root can give a file away; for others that of somebody else is one that they cannot open at all.
    if fs::metadata(&target).unwrap().uid() == 0 {
        chown(&target, Some(65_534), None).unwrap();
        assert!(refused(&target).contains("another user"));
        assert_eq!(fs::read(&target).unwrap(), b"");
    }
}
