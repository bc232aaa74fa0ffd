//! What proxies do with headers that are too long for them.

use kest_lab::{Envoy, Folder, HopConfig, Lab, Nginx, Step, Via, call, operations};
use serde_json::Value;

use crate::{host, local, start};

/// Through each proxy: a lineage of so many calls, by a sender with these settings.
fn through_both(lab: &Lab, calls: usize, change: fn(&mut HopConfig)) -> [(u16, Value); 2] {
    let folder = Folder::new();
    let names = ["a", "b"];
    let [mut a, mut b] = names.map(|name| local(name, &names));
    change(&mut a);
    change(&mut b);
    let (nginx, envoy) = (Nginx::start(lab, b.port), Envoy::start(lab, b.port));
    a.hosts = vec![host(&b), nginx.host(), envoy.host()];
    let [a, b] = [a, b].map(|config| start(&folder, config));
    let ask = |origin: String| {
        let answer = a.ask(&[], [Step::Repeat(calls), call(Via::Http1, origin, [])]);
        (answer.status, answer.body)
    };
    // What is sent at all is refused by the proxies, and not by the service.
    let (status, body) = ask(b.origin());
    assert!(status == 200 || body["send"].is_string(), "{body}");
    [nginx.host(), envoy.host()].map(|host| ask(format!("http://{host}")))
}

#[test]
fn what_the_default_limits_let_out_passes_and_what_they_do_not_is_an_error() {
    let Some(lab) = Lab::from_env() else { return };
    for (status, body) in through_both(&lab, 10, |_| ()) {
        assert_eq!(status, 200, "{body}");
        assert_eq!(operations(&body["answers"][0]["passport"]).len(), 12);
    }
    for (status, body) in through_both(&lab, 60, |_| ()) {
        let error = body["send"].as_str().unwrap_or_else(|| panic!("{body}"));
        assert_eq!(status, 502);
        assert!(error.contains("cache"), "{error}");
    }
}

#[test]
fn a_header_too_long_for_a_proxy_is_its_refusal_and_never_a_lost_lineage() {
    let Some(lab) = Lab::from_env() else { return };
    let raised = |config: &mut HopConfig| {
        config.header_bytes = Some(200_000);
        config.entries = Some(1_000);
    };
    // nginx takes lines of 8 KiB, Envoy 60 KiB of headers.
    let [(status, nginx), (passed, envoy)] = through_both(&lab, 60, raised);
    assert_eq!((status, &nginx["answered"]["status"]), (502, &400.into()), "{nginx}");
    assert!(
        nginx["answered"]["body"].as_str().unwrap().contains("Request Header Or Cookie Too Large"),
        "{nginx}"
    );
    assert_eq!(passed, 200, "{envoy}");
    assert_eq!(operations(&envoy["answers"][0]["passport"]).len(), 62);
    let [_, (status, envoy)] = through_both(&lab, 500, raised);
    assert_eq!((status, &envoy["answered"]["status"]), (502, &431.into()), "{envoy}");
}
