//! Envoy in front of a service.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};

use serde_json::{Value, json};

use crate::{Folder, Lab, Server, free_port, guarded};

/// A running Envoy with its own limits, which passes everything on to one port.
#[derive(Debug)]
pub struct Envoy {
    port: u16,
    _server: Server,
    _folder: Folder,
}

impl Envoy {
    /// Starts it in front of a loopback port, to which it speaks HTTP/1.1.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(lab: &Lab, upstream: u16) -> Self {
        Self::with(lab, upstream, json!({ "http_protocol_options": {} }))
    }

    /// The same for a service that speaks HTTP/2, as gRPC does.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn http_2(lab: &Lab, upstream: u16) -> Self {
        Self::with(lab, upstream, json!({ "http2_protocol_options": {} }))
    }

    fn with(lab: &Lab, upstream: u16, protocol: Value) -> Self {
        let folder = Folder::new();
        let (port, server) = Server::start_again(|| {
            let port = free_port();
            let file = folder.path().join("envoy.json");
            fs::write(&file, config(port, upstream, &protocol).to_string()).unwrap();
            let mut command = guarded(lab.part("hop/bin/envoy"));
            // Several on one machine do not share memory.
            command.arg("-c").arg(&file).args(["--disable-hot-restart", "--concurrency", "1"]);
            let up = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
            Ok((port, Server::start("envoy", folder.path(), command, up)?))
        });
        Self { port, _server: server, _folder: folder }
    }

    /// Where it listens: `127.0.0.1:<port>`.
    #[must_use]
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

fn config(port: u16, upstream: u16, protocol: &Value) -> Value {
    let address = |port: u16| json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } });
    let types = "type.googleapis.com/envoy.extensions";
    json!({ "static_resources": {
        "listeners": [{
            "address": address(port),
            "filter_chains": [{ "filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": format!("{types}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
                    "stat_prefix": "in",
                    "http_filters": [{
                        "name": "envoy.filters.http.router",
                        "typed_config": { "@type": format!("{types}.filters.http.router.v3.Router") },
                    }],
                    "route_config": { "virtual_hosts": [{
                        "name": "all",
                        "domains": ["*"],
                        "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "service" } }],
                    }] },
                },
            }] }],
        }],
        "clusters": [{
            "name": "service",
            "type": "STATIC",
            "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": format!("{types}.upstreams.http.v3.HttpProtocolOptions"),
                "explicit_http_config": protocol,
            } },
            "load_assignment": {
                "cluster_name": "service",
                "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(upstream) } }] }],
            },
        }],
    } })
}
