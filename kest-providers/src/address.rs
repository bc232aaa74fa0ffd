//! Addresses of servers that are believed: `https`, or `http` to this machine.

use std::net::IpAddr;

use url::{Host, Url};

/// Where `http`, in the clear, may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    /// To this machine alone.
    Here,
    /// Anywhere.
    #[cfg(any(feature = "opa", feature = "cedar-agent"))]
    Anywhere,
}

/// Why an address in the clear is refused.
pub(crate) const IN_THE_CLEAR: &str = "is `http` to another machine; use `https`";

/// The address, or why it is none to believe.
pub(crate) fn checked(text: &str, plain: Plain) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "is no URL")?;
    match (url.scheme(), plain) {
        ("https", _) => {}
        ("http", Plain::Here) if is_loopback(&url) => {}
        ("http", Plain::Here) => return Err(IN_THE_CLEAR),
        #[cfg(any(feature = "opa", feature = "cedar-agent"))]
        ("http", Plain::Anywhere) => {}
        _ => return Err("is not `https`"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("carries credentials; leave them away");
    }
    if url.fragment().is_some() {
        return Err("has a fragment; leave it away");
    }
    Ok(url)
}

/// Whether it is this machine's. RFC 6761 §6.3: `localhost` is.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => false,
    }
}
