//! Three services, each a process that sends its spans by itself: one trace at the collector.

use std::path::Path;

use kest_lab::{
    Collected, Collector, Folder, Hop, HopConfig, Lab, Otelcol, OtelcolSettings, Rotel, Via, call, free_port,
    local_anchors, local_id, operations,
};

fn three_services(collector: &dyn Collector) {
    let folder = Folder::new();
    let program = Path::new(env!("CARGO_BIN_EXE_hop"));
    let names = ["a", "b", "c"];
    let host = |hop: &Hop| hop.origin().trim_start_matches("http://").to_owned();
    let start = |name: &str, otlp: String, next: Option<&Hop>| {
        let config = HopConfig {
            name: name.to_owned(),
            port: free_port(),
            anchors: Some(local_anchors(&names)),
            allow: names.iter().map(|name| local_id(name)).collect(),
            policies: vec!["hop/any".to_owned()],
            hosts: next.map(host).into_iter().collect(),
            otlp: Some(otlp),
            ..HopConfig::default()
        };
        Hop::start(&folder, program, config, None)
    };
    // Each sends its spans another way than its neighbour, and calls are of both kinds.
    let c = start("c", collector.grpc(), None);
    let b = start("b", collector.http(), Some(&c));
    let a = start("a", collector.grpc(), Some(&b));
    let answer = a.ask(&[], [call(Via::Http1, b.origin(), [call(Via::Grpc, c.origin(), [])])]).good();
    let last = answer.pointer("/answers/0/answers/0").unwrap();
    let entries: Vec<&str> =
        last["passport"].as_array().unwrap().iter().map(|jws| jws.as_str().unwrap()).collect();
    assert_eq!(operations(&last["passport"]), names);

    let spans = collector.wait(3);
    assert_eq!(spans.len(), 3, "{spans:#?}");
    let of = |name: &str| -> &Collected { spans.iter().find(|span| span.service == name).unwrap() };
    let [a, b, c] = names.map(of);
    assert_eq!((&b.trace, &c.trace), (&a.trace, &a.trace));
    assert_eq!((a.parent.as_str(), &b.parent, &c.parent), ("", &a.id, &b.id));
    for ((span, name), entry) in [a, b, c].into_iter().zip(names).zip(&entries) {
        assert_eq!(span.name, format!("kest.verified.{name}"));
        assert_eq!(span.attributes["kest.workload_id"], local_id(name));
        assert_eq!(span.attributes["kest.operation"], name);
        assert_eq!(span.attributes["kest.allowed"], "true");
        assert_eq!(span.attributes["kest.outcome"], "ok");
        // What the trace shows is what the lineage proves.
        assert_eq!(span.attributes["kest.signature"], *entry);
        assert_eq!(span.attributes.contains_key("kest.passport"), name == "a");
    }
}

#[test]
fn at_rotel() {
    let Some(lab) = Lab::from_env() else { return };
    three_services(&Rotel::start(&lab));
}

#[test]
fn at_the_opentelemetry_collector() {
    let Some(lab) = Lab::from_env() else { return };
    three_services(&Otelcol::start(&lab, OtelcolSettings::default()));
}
