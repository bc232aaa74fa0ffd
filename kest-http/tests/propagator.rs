//! The propagator: beside others, out only where that was said, in unverified (spec §12).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod wire_support;

use std::collections::HashMap;

use kest_core::error::PropagationErrorKind;
use kest_core::lineage::{self, Jwt};
use kest_http::propagator::arrived;
use kest_http::{KestPropagator, Parcel, Wire};
use opentelemetry::baggage::BaggageExt;
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapCompositePropagator, TextMapPropagator};
use opentelemetry::{Context, KeyValue};
use wire_support::{Maker, as_python_reads, call, keys, tiers};

type Carrier = HashMap<String, String>;

/// What the propagator of the SDK does, without its limits: it writes all of OpenTelemetry Baggage, and reads one
/// header into it.
#[derive(Debug)]
struct Baggage([String; 1]);

fn baggage() -> Baggage {
    Baggage(["baggage".to_owned()])
}

impl TextMapPropagator for Baggage {
    fn inject_context(&self, cx: &Context, injector: &mut dyn Injector) {
        let members = cx.baggage().iter().map(|(key, (value, _))| format!("{key}={value}"));
        injector.set("baggage", members.collect::<Vec<_>>().join(","));
    }

    fn extract_with_context(&self, cx: &Context, extractor: &dyn Extractor) -> Context {
        let header = extractor.get("baggage").unwrap_or_default();
        let members = header.split(',').filter_map(|member| member.split_once('='));
        cx.with_baggage(members.map(|(key, value)| KeyValue::new(key.to_owned(), value.to_owned())))
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&self.0)
    }
}

/// Writes a header of its own.
#[derive(Debug)]
struct Trace([String; 1]);

impl TextMapPropagator for Trace {
    fn inject_context(&self, _: &Context, injector: &mut dyn Injector) {
        injector.set("traceparent", "00-1".to_owned());
    }

    fn extract_with_context(&self, cx: &Context, extractor: &dyn Extractor) -> Context {
        assert_eq!(extractor.get("traceparent"), Some("00-1"));
        assert_eq!(extractor.get_all("traceparent"), Some(vec!["00-1"]));
        cx.clone()
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&self.0)
    }
}

fn others() -> TextMapCompositePropagator {
    TextMapCompositePropagator::new(vec![Box::new(baggage()), Box::new(Trace(["traceparent".to_owned()]))])
}

fn inject(propagator: &KestPropagator) -> Carrier {
    let mut carrier = Carrier::new();
    propagator.inject(&mut carrier);
    carrier
}

#[test]
fn the_lineage_goes_out_where_any_host_is_said_and_comes_in_unverified() {
    let maker = Maker::new();
    let propagator = KestPropagator::default().any_host();
    let _scope = maker.kest.enter();
    let (carrier, passport) = call(|| (inject(&propagator), lineage::get_current_passport().unwrap()));
    assert_eq!(tiers(&carrier["baggage"]), ["kest.passport"]);

    let cx = propagator.extract_with_context(&Context::new(), &carrier);
    assert!(cx.baggage().is_empty(), "the passport is in no baggage that others send on");
    let came = arrived(&cx).unwrap().as_ref().unwrap();
    let verified = maker.verified(came.lineage.clone().unwrap());
    assert_eq!(verified.passport().serialize(), passport.serialize());
    assert!(arrived(&Context::new()).is_none());
}

#[test]
fn nothing_goes_to_whoever_it_may_be_unless_that_is_said() {
    let maker = Maker::new();
    let propagator = KestPropagator::default();
    let _scope = maker.kest.enter();
    call(|| {
        let mut carrier = Carrier::new();
        let error = propagator.try_inject(&Context::current(), &mut carrier).unwrap_err();
        assert_eq!(error.kind(), PropagationErrorKind::HostNotNamed);
        assert!(error.to_string().contains("any_host()"), "{error}");
        assert!(carrier.is_empty());
        assert!(inject(&propagator).is_empty());
    });
    let cx = Context::current().with_value(Parcel::of(maker.chain(1)));
    let mut carrier = Carrier::new();
    propagator.try_inject(&cx, &mut carrier).unwrap();
    assert_eq!(tiers(&carrier["baggage"]), ["kest.passport"], "a parcel was put there for this call");
}

#[test]
fn outside_any_scope_there_is_nothing_to_send() {
    let mut carrier = Carrier::new();
    KestPropagator::default().try_inject(&Context::new(), &mut carrier).unwrap();
    assert!(carrier.is_empty());
}

#[tokio::test]
async fn the_token_goes_along_only_where_that_is_said() {
    lineage::with_jwt(Jwt::new("a.b.c"), async {
        assert!(inject(&KestPropagator::default().any_host()).is_empty());
        let carrier = inject(&KestPropagator::default().any_host().send_jwt());
        assert_eq!(carrier["baggage"], "kest.jwt=a.b.c");
    })
    .await;
}

#[tokio::test]
async fn it_stands_around_others_and_keeps_what_they_write() {
    let maker = Maker::new();
    let propagator = KestPropagator::new(Wire::default()).around(others()).any_host();
    let mut fields: Vec<&str> = propagator.fields().collect();
    fields.sort_unstable();
    assert_eq!(fields, ["baggage", "traceparent"]);

    let work = async {
        let _scope = maker.kest.enter();
        let cx = Context::current();
        let mut members: Vec<KeyValue> =
            cx.baggage().iter().map(|(k, (v, _))| KeyValue::new(k.clone(), v.clone())).collect();
        members.extend([KeyValue::new("tenant", "acme"), KeyValue::new("kest.chain_tip", "0")]);
        let _with_baggage = Context::current().with_baggage(members).attach();
        call(|| inject(&propagator))
    };
    let carrier = lineage::with_user("alice", work).await;
    assert_eq!(carrier["traceparent"], "00-1");
    let mut found = keys(&carrier["baggage"]);
    found.sort_unstable();
    assert_eq!(found, ["kest.chain_tip", "kest.passport", "kest.user", "tenant"]);

    let mut carrier = carrier;
    carrier.get_mut("baggage").unwrap().push_str(",kest.jwt=a.b.c,kest%2Ejwt=x,%6best.claim_check=x");
    let cx = propagator.extract_with_context(&Context::new(), &carrier);
    let mut seen: Vec<String> = cx.baggage().iter().map(|(key, _)| key.to_string()).collect();
    seen.sort_unstable();
    assert_eq!(seen, ["kest.user", "tenant"], "other propagators would send the rest on");
    let came = arrived(&cx).unwrap().as_ref().unwrap();
    assert_eq!(came.user.as_deref(), Some("alice"));
    assert_eq!(came.jwt.as_ref().map(Jwt::reveal), Some("a.b.c"));
    assert_eq!(came.lineage.as_ref().unwrap().len(), 1);
}

#[test]
fn alone_it_writes_baggage_as_well_and_encodes_it() {
    let cx = Context::new().with_baggage([KeyValue::new("city", "Malmö, 100 %")]);
    let mut carrier = Carrier::new();
    KestPropagator::default().try_inject(&cx, &mut carrier).unwrap();
    assert_eq!(carrier["baggage"], "city=Malm%C3%B6%2C%20100%20%25");
}

#[test]
fn what_fails_leaves_the_others_alone() {
    let maker = Maker::new();
    let propagator = KestPropagator::new(Wire::builder().entries(1).build()).around(others()).any_host();
    let scope = maker.kest.enter();
    let _with_baggage = Context::current().with_baggage([KeyValue::new("tenant", "acme")]).attach();
    call(|| {
        call(|| {
            let mut carrier = Carrier::new();
            let error = propagator.try_inject(&Context::current(), &mut carrier).unwrap_err();
            assert_eq!(error.kind(), PropagationErrorKind::TooLarge);
            assert_eq!((&*carrier["baggage"], &*carrier["traceparent"]), ("tenant=acme", "00-1"));
            assert_eq!(inject(&propagator)["baggage"], "tenant=acme");
        })
    });
    drop(scope);
}

#[test]
fn baggage_that_is_none_is_not_sent() {
    let cx = Context::new().with_baggage([KeyValue::new("tenant", "two words")]);
    let mut carrier = Carrier::new();
    let error = KestPropagator::default().around(others()).try_inject(&cx, &mut carrier).unwrap_err();
    assert_eq!(error.kind(), PropagationErrorKind::Malformed);
    assert!(!carrier.contains_key("baggage"), "{carrier:?}");
}

/// A carrier of two headers, or of one that is no text.
struct Headers(Option<Vec<&'static str>>);

impl Extractor for Headers {
    fn get(&self, key: &str) -> Option<&str> {
        self.get_all(key)?.first().copied()
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "Baggage"]
    }

    fn get_all(&self, key: &str) -> Option<Vec<&str>> {
        match key {
            "baggage" => self.0.clone(),
            "traceparent" => Some(vec!["00-1"]),
            _ => None,
        }
    }
}

#[test]
fn an_error_is_kept_and_never_an_empty_lineage() {
    let propagator = KestPropagator::default().around(others());
    for headers in [
        Headers(Some(vec!["kest.chain_tip=0"])),
        Headers(Some(vec!["kest.user=a", "kest.user=b"])),
        Headers(None),
    ] {
        let cx = propagator.extract_with_context(&Context::new(), &headers);
        let error = arrived(&cx).unwrap().as_ref().unwrap_err();
        assert_eq!(error.kind(), PropagationErrorKind::Malformed);
    }
    let cx = propagator.extract_with_context(&Context::new(), &Headers(Some(vec!["a=1", "b=2,kest.user=c"])));
    assert_eq!(arrived(&cx).unwrap().as_ref().unwrap().user.as_deref(), Some("c"));
    assert_eq!(cx.baggage().len(), 3, "the other propagator sees both headers");
}

#[test]
fn it_works_where_the_current_context_is_held() {
    let maker = Maker::new();
    let all = TextMapCompositePropagator::new(vec![Box::new(KestPropagator::default().any_host())]);
    let _scope = maker.kest.enter();
    let mut carrier = Carrier::new();
    call(|| all.inject(&mut carrier));
    assert_eq!(tiers(&carrier["baggage"]), ["kest.passport"]);
    assert!(arrived(&all.extract(&carrier)).unwrap().as_ref().unwrap().lineage.is_some());
}

#[test]
fn what_counts_is_the_context_that_is_injected() {
    let maker = Maker::new();
    let propagator = KestPropagator::default().any_host();
    let (cx, sent) = {
        let _scope = maker.kest.enter();
        call(|| (Context::current(), lineage::get_current_passport().unwrap().serialize()))
    };
    let mut carrier = Carrier::new();
    propagator.try_inject(&cx, &mut carrier).unwrap();
    let came = propagator.extract_with_context(&Context::new(), &carrier);
    let lineage = arrived(&came).unwrap().as_ref().unwrap().lineage.clone().unwrap();
    assert_eq!(lineage.serialize(), sent);
}

#[test]
fn debug_shows_settings_and_no_lineage() {
    let shown = format!("{:?}", KestPropagator::default().any_host());
    assert!(shown.contains("Any") && shown.len() < 600, "{shown}");
}

#[test]
fn python_reads_what_a_propagator_wrote() {
    let maker = Maker::new();
    let propagator = KestPropagator::new(Wire::builder().always_compressed().build()).any_host();
    let _scope = maker.kest.enter();
    let carrier = call(|| inject(&propagator));
    assert!(as_python_reads(&carrier["baggage"]).0.starts_with("[\"eyJ"));
}
