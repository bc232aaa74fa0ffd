//! Which hosts may receive lineage or a token: exact names, never a suffix.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use http::Uri;

use super::OutboundError;

/// A host as it is named in the settings: `orders.internal`, `orders.internal:8443`, `[::1]:9000`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostName {
    host: Host,
    port: Option<u16>,
}

/// Where a request goes, as its URI says (RFC 3986 §3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    scheme: Option<Box<str>>,
    place: Option<(Host, Option<u16>)>,
}

/// A host in the form in which two are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    /// In lower case, otherwise as it is written: `a.example` and `a.example.` are two.
    Name(Box<str>),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl HostName {
    /// Reads a host with or without a port.
    ///
    /// INVARIANT: what cannot be the host of a URI as it is written is refused, so that nothing is named which
    /// another reader would understand otherwise.
    pub(super) fn parse(text: &str) -> Result<Self, OutboundError> {
        let refuse = || OutboundError::Host { host: text.to_owned() };
        let (host, port) = split_port(text).ok_or_else(refuse)?;
        Ok(Self { host: Host::parse(host).ok_or_else(refuse)?, port })
    }

    pub(super) fn names(&self, target: &Target) -> bool {
        let Some((host, port)) = &target.place else { return false };
        if self.host != *host {
            return false;
        }
        match self.port {
            Some(named) => port.or_else(|| target.default_port()) == Some(named),
            None => port.is_none() || *port == target.default_port(),
        }
    }
}

/// Whether one of the names is that of the target.
pub(super) fn any_names(hosts: &[HostName], target: &Target) -> bool {
    hosts.iter().any(|host| host.names(target))
}

impl Target {
    pub(super) fn of(uri: &Uri) -> Self {
        let place = uri.host().and_then(Host::parse).map(|host| (host, uri.port_u16()));
        // A port that is there and cannot be read is no port that was named.
        let unreadable = uri.authority().is_some_and(|authority| {
            let after_user = authority.as_str().rsplit('@').next().unwrap_or_default();
            split_port(after_user).is_none()
        });
        Self {
            scheme: uri.scheme_str().map(|scheme| scheme.to_ascii_lowercase().into()),
            place: if unreadable { None } else { place },
        }
    }

    /// The host that a client is bound to: a URI with scheme and host, and nothing after it.
    pub(crate) fn origin(text: &str) -> Result<Self, OutboundError> {
        let refuse = || OutboundError::Origin { origin: text.to_owned() };
        let uri: Uri = text.parse().map_err(|_| refuse())?;
        let target = Self::of(&uri);
        let bare = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
        let known = target.default_port().is_some() && target.place.is_some();
        let plain = !uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if bare && known && plain { Ok(target) } else { Err(refuse()) }
    }

    /// Of a request that does not say.
    #[cfg(feature = "reqwest")]
    pub(super) fn nowhere() -> Self {
        Self { scheme: None, place: None }
    }

    /// Whether the URI says nothing of where it goes, as one of a path alone (RFC 9112 §3.2.1).
    pub(super) fn is_nowhere(&self) -> bool {
        self.scheme.is_none() && self.place.is_none()
    }

    /// Whether the request goes over TLS, or does not leave the machine.
    pub(super) fn is_private(&self) -> bool {
        matches!(self.scheme.as_deref(), Some("https" | "wss")) || self.is_loopback()
    }

    fn is_loopback(&self) -> bool {
        match &self.place {
            Some((Host::Name(name), _)) => &**name == "localhost",
            Some((Host::V4(address), _)) => address.is_loopback(),
            Some((Host::V6(address), _)) => address.is_loopback(),
            None => false,
        }
    }

    fn default_port(&self) -> Option<u16> {
        match self.scheme.as_deref() {
            Some("https" | "wss") => Some(443),
            Some("http" | "ws") => Some(80),
            Some(_) | None => None,
        }
    }

    /// Scheme, host and port, as RFC 6454 §4 compares them.
    #[cfg(feature = "reqwest")]
    pub(super) fn same_origin(&self, other: &Self) -> bool {
        let port = |target: &Self| {
            target.place.as_ref().and_then(|(_, port)| port.or_else(|| target.default_port()))
        };
        let host = |target: &Self| target.place.as_ref().map(|(host, _)| host.clone());
        host(self).is_some()
            && host(self) == host(other)
            && self.scheme == other.scheme
            && port(self) == port(other)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            None => f.write_str("a URI without a host"),
            Some((host, None)) => write!(f, "{host}"),
            Some((host, Some(port))) => write!(f, "{host}:{port}"),
        }
    }
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            return inner.strip_suffix(']')?.parse().ok().map(Self::V6);
        }
        if let Ok(address) = text.parse() {
            return Some(Self::V4(address));
        }
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        let labels = text.strip_suffix('.').unwrap_or(text);
        let shaped = text.len() <= 254
            && !labels.is_empty()
            && text.bytes().all(known)
            && labels.split('.').all(|label| !label.is_empty());
        // `127.1` and `0x7f000001` are addresses to some and names to others (WHATWG URL §3.5).
        let last = labels.rsplit('.').next().unwrap_or_default();
        let number = last.bytes().all(|byte| byte.is_ascii_digit())
            || last.strip_prefix("0x").or_else(|| last.strip_prefix("0X")).is_some();
        (shaped && !number).then(|| Self::Name(text.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// The host and the port of `host[:port]`; none where there is a port that is no number from 1 to 65,535.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let start = if text.starts_with('[') { text.find(']')? } else { 0 };
    let (bracketed, rest) = text.split_at_checked(start)?;
    match rest.split_once(':') {
        None => Some((text, None)),
        Some((before, port)) => {
            let host = text.get(..bracketed.len() + before.len())?;
            let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            let port: u16 = if digits { port.parse().ok()? } else { return None };
            (port > 0).then_some((host, Some(port)))
        }
    }
}

#[cfg(test)]
mod tests {
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

    #[cfg(feature = "reqwest")]
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
}
