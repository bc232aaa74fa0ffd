use super::*;

fn named(host: &str, uri: &str) -> bool {
    let target = Target::of(&uri.parse().unwrap());
    any_names(&[HostName::parse(host).unwrap()], &target)
}

#[test]
fn a_host_is_named_exactly() {
    for uri in [
        "http://orders.internal/a",
        "https://orders.internal/a?b",
        "https://ORDERS.internal:443/",
        "http://orders.internal:80",
        "https://somebody:secret@orders.internal/",
        "wss://orders.internal/",
    ] {
        assert!(named("orders.internal", uri), "{uri}");
        assert!(named("Orders.INTERNAL", uri), "{uri}");
    }
    for uri in [
        "https://evil-orders.internal/",
        "https://orders.internal.evil.example/",
        "https://a.orders.internal/",
        "https://internal/",
        "https://orders.internal@evil.example/",
        "https://orders.internal:443@evil.example/",
        "https://orders.internal./",
        "https://orders.internal:80/",
        "http://orders.internal:443/",
        "https://orders.internal:8443/",
        "orders.internal:443",
        "ftp://orders.internal:443/",
        "/orders.internal",
        "https://evil.example/https://orders.internal/",
        "https://evil.example/?orders.internal",
    ] {
        assert!(!named("orders.internal", uri), "{uri}");
    }
}

#[test]
fn a_port_that_is_named_must_be_the_one() {
    assert!(named("orders.internal:8443", "https://orders.internal:8443/"));
    assert!(named("orders.internal:8443", "http://orders.internal:8443/"));
    assert!(named("orders.internal:443", "https://orders.internal/"));
    assert!(named("orders.internal:80", "http://orders.internal/"));
    assert!(!named("orders.internal:443", "http://orders.internal/"));
    assert!(!named("orders.internal:8443", "https://orders.internal/"));
    assert!(!named("orders.internal:8443", "https://orders.internal:18443/"));
    assert!(!named("orders.internal:8443", "https://orders.internal:84430/"));
}

#[test]
fn addresses_are_compared_as_addresses() {
    assert!(named("[::1]:9000", "http://[0:0:0:0:0:0:0:1]:9000/"));
    assert!(named("[2001:DB8::1]", "https://[2001:db8::1]/"));
    assert!(!named("[::1]:9000", "http://[::1]:9001/"));
    assert!(!named("[::1]", "http://[::2]/"));
    assert!(named("127.0.0.1:9000", "http://127.0.0.1:9000/"));
    // The address that IPv6 has for it is another one, on another socket.
    assert!(!named("127.0.0.1", "http://[::ffff:127.0.0.1]/"));
    assert!(!named("127.0.0.1", "http://127.0.0.1.evil.example/"));
    for uri in ["http://127.1/", "http://0x7f000001/", "http://2130706433/", "http://127.0.0.01/"] {
        assert!(!named("127.0.0.1", uri), "{uri}");
    }
}

#[test]
fn a_trailing_dot_is_another_name() {
    assert!(named("orders.internal.", "https://orders.internal./"));
    assert!(!named("orders.internal.", "https://orders.internal/"));
}

#[test]
fn what_is_no_host_is_not_named() {
    for text in [
        "",
        ".",
        "*",
        "*.internal",
        ".internal",
        "orders..internal",
        "https://orders.internal",
        "orders.internal/",
        "orders.internal/path",
        "me@orders.internal",
        "orders.internal:",
        "orders.internal:0",
        "orders.internal:65536",
        "orders.internal:+80",
        "orders.internal:https",
        "orders.internal:80:80",
        " orders.internal",
        "orders internal",
        "bücher.example",
        "::1",
        "[::1",
        "[::1]x",
        "[fe80::1%eth0]",
        "127.1",
        "0x7f000001",
        "2130706433",
        "orders%2einternal",
    ] {
        assert!(HostName::parse(text).is_err(), "{text}");
    }
    assert!(HostName::parse("xn--bcher-kva.example").is_ok());
}

#[test]
fn only_tls_and_loopback_are_private() {
    let private = |uri: &str| Target::of(&uri.parse().unwrap()).is_private();
    for uri in [
        "https://orders.internal",
        "http://127.0.0.1:1",
        "http://127.9.9.9",
        "http://[::1]",
        "http://localhost",
    ] {
        assert!(private(uri), "{uri}");
    }
    for uri in [
        "http://orders.internal",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://localhost@evil.example",
        "http://[::ffff:1.2.3.4]",
        "orders.internal:443",
    ] {
        assert!(!private(uri), "{uri}");
    }
}

#[test]
fn an_origin_is_a_scheme_and_a_host() {
    for text in ["https://orders.internal", "http://127.0.0.1:9000/", "https://[::1]:1"] {
        assert!(Target::origin(text).is_ok(), "{text}");
    }
    for text in [
        "",
        "/",
        "orders.internal",
        "orders.internal:80",
        "ftp://a",
        "https://a/b",
        "https://a/?b",
        "https://u@a",
        "https://a:x",
    ] {
        assert!(Target::origin(text).is_err(), "{text}");
    }
}

#[test]
fn an_origin_has_a_scheme_a_host_and_a_port() {
    let same = |one: &str, other: &str| {
        Target::of(&one.parse().unwrap()).same_origin(&Target::of(&other.parse().unwrap()))
    };
    assert!(same("https://a.example/x", "https://A.example:443/y"));
    for other in
        ["http://a.example/", "http://a.example:443/", "https://a.example:8443/", "https://b.example/"]
    {
        assert!(!same("https://a.example/", other), "{other}");
    }
    assert!(!same("/a", "/a"), "nowhere is no origin");
}

#[test]
fn a_request_says_nothing_else_than_its_origin() {
    let origin = Target::origin("https://orders.internal").unwrap();
    for uri in ["/", "/a?b", "*", "https://orders.internal/a", "https://ORDERS.internal:443/"] {
        assert_eq!(origin.of_request(&uri.parse().unwrap()).unwrap(), origin, "{uri}");
    }
    for uri in [
        "http://orders.internal/",
        "http://orders.internal:443/",
        "https://orders.internal:8443/",
        "https://orders.internal./",
        "https://evil.example/",
        "https://orders.internal@evil.example/",
        "https://orders.internal:99999/",
        "orders.internal:443",
        "orders.internal:99999",
    ] {
        let Ok(uri) = uri.parse() else { continue };
        let error = origin.of_request(&uri).unwrap_err();
        assert_eq!(error.kind(), PropagationErrorKind::HostNotNamed, "{uri}");
        assert!(error.to_string().contains("goes to `https://orders.internal:443`"), "{error}");
    }
}

#[test]
fn two_names_meet_where_a_uri_may_have_both() {
    let meets = |one: &str, other: &str| {
        let [one, other] = [one, other].map(|text| HostName::parse(text).unwrap());
        assert_eq!(one.meets(&other), other.meets(&one));
        one.meets(&other)
    };
    for other in ["a.internal", "A.internal", "a.internal:80", "a.internal:443"] {
        assert!(meets("a.internal", other), "{other}");
    }
    assert!(meets("a.internal:8443", "a.internal:8443"));
    for other in ["a.internal:8443", "a.internal.", "b.internal"] {
        assert!(!meets("a.internal", other), "{other}");
    }
    assert!(!meets("a.internal:80", "a.internal:443"));
}
