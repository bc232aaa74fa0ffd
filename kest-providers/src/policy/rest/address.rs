//! Where a policy server is.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hyper::header::HeaderValue;
use kest_core::error::PolicyUnavailable;
use kest_core::text::Quoted;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use url::{Host, Url};

use super::names::Name;
use super::refuse;
use crate::address::{IN_THE_CLEAR, Plain, checked};
use crate::masked::masked;

/// An address that was checked.
#[derive(Debug)]
pub(super) struct Endpoint {
    shown: String,
    /// Its path, without a slash at the end.
    prefix: String,
    host: HeaderValue,
    place: Place,
    /// Whom its certificate must name; `None` in the clear.
    pub(super) tls: Option<ServerName<'static>>,
}

#[derive(Debug)]
enum Place {
    Addresses(Vec<SocketAddr>),
    Name(Name),
}

impl Endpoint {
    pub(super) fn new(server: &str, text: &str, plain: Plain) -> Result<Self, PolicyUnavailable> {
        let no = |why: &str| refuse(format!("{server}'s address {} {why}", Quoted(&masked(text))));
        let url = checked(text, plain).map_err(|why| match why {
            IN_THE_CLEAR => no(&format!("{why}, or say `.allow_plain_http()` where nobody else can listen")),
            why => no(why),
        })?;
        if url.query().is_some() {
            return Err(no("has a query; leave it away"));
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(no("names no host"));
        };
        let tls = match url.scheme() {
            "https" => {
                Some(server_name(&host).ok_or_else(|| no("names a host that no certificate can name"))?)
            }
            _ => None,
        };
        let prefix = url.path().trim_end_matches('/').to_owned();
        let host_value = HeaderValue::from_str(&authority(&url)).map_err(|_| no("names no host"))?;
        let place = match host {
            // RFC 6761 §6.3: no resolver is asked, which might know better.
            Host::Domain("localhost") => Place::Addresses(vec![
                (IpAddr::V4(Ipv4Addr::LOCALHOST), port).into(),
                (IpAddr::V6(Ipv6Addr::LOCALHOST), port).into(),
            ]),
            Host::Domain(name) => Place::Name(Name::new(name, port)),
            Host::Ipv4(ip) => Place::Addresses(vec![(ip, port).into()]),
            Host::Ipv6(ip) => Place::Addresses(vec![(ip, port).into()]),
        };
        let shown = format!("{}://{}{prefix}", url.scheme(), authority(&url));
        Ok(Self { shown, prefix, host: host_value, place, tls })
    }

    /// The target of a request line, RFC 9112 §3.2.1.
    pub(super) fn target(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// The `Host` header.
    pub(super) fn host(&self) -> HeaderValue {
        self.host.clone()
    }

    pub(super) async fn connect(&self) -> io::Result<TcpStream> {
        let stream = match &self.place {
            Place::Addresses(addresses) => TcpStream::connect(addresses.as_slice()).await?,
            Place::Name(name) => TcpStream::connect(name.addresses().await?.as_slice()).await?,
        };
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn server_name(host: &Host<&str>) -> Option<ServerName<'static>> {
    match host {
        Host::Domain(name) => ServerName::try_from((*name).to_owned()).ok(),
        Host::Ipv4(ip) => Some(ServerName::from(IpAddr::V4(*ip))),
        Host::Ipv6(ip) => Some(ServerName::from(IpAddr::V6(*ip))),
    }
}
