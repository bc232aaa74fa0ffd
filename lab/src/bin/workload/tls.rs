//! Mutual TLS between two workloads: each tells the other who it is to it.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use kest::identity::spire::{PeerAuthorizer, SpireProvider};
use kest::identity::{IdentityProvider as _, Svid};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::identity_error;

/// Accepts connections from now on; one configuration for all of them, however often the SVID changes.
pub(crate) fn serve(
    identity: &SpireProvider,
    runtime: &Arc<Runtime>,
    peers: PeerAuthorizer,
) -> Result<Value, Value> {
    let config =
        runtime.block_on(identity.tls_server_config(peers)).map_err(|error| identity_error(&error))?;
    let config = Arc::new(config);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (identity, runtime) = (identity.clone(), Arc::clone(runtime));
    thread::spawn(move || {
        for stream in listener.incoming() {
            if let Err(error) = greet(&identity, &runtime, &config, stream.unwrap()) {
                eprintln!("a connection failed: {error}");
            }
        }
    });
    Ok(json!(port))
}

/// Connects and gives `{"server":…,"client":…}`: who the server is, and who the server says that we are.
pub(crate) fn connect(
    identity: &SpireProvider,
    runtime: &Runtime,
    port: u16,
    peers: PeerAuthorizer,
) -> Result<Value, Value> {
    let config =
        runtime.block_on(identity.tls_client_config(peers)).map_err(|error| identity_error(&error))?;
    let name = ServerName::try_from("workload.invalid").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream =
        StreamOwned::new(connection, limited(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap()));
    let said =
        exchange(&mut stream).map_err(|error| json!({ "kind": "Tls", "message": error.to_string() }))?;
    let server = peer(identity, runtime, stream.conn.peer_certificates());
    Ok(json!({ "server": server, "client": said }))
}

fn greet(
    identity: &SpireProvider,
    runtime: &Runtime,
    config: &Arc<ServerConfig>,
    stream: TcpStream,
) -> std::io::Result<()> {
    let connection = ServerConnection::new(Arc::clone(config)).unwrap();
    let mut stream = StreamOwned::new(connection, limited(stream));
    let mut hello = [0; 6];
    stream.read_exact(&mut hello)?;
    let client = peer(identity, runtime, stream.conn.peer_certificates());
    writeln!(stream, "{client}")?;
    stream.conn.send_close_notify();
    stream.flush()
}

fn exchange(stream: &mut (impl Read + Write)) -> std::io::Result<String> {
    stream.write_all(b"hello\n")?;
    stream.flush()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

/// The SPIFFE ID of the certificates, which the handshake has checked, checked again.
fn peer(identity: &SpireProvider, runtime: &Runtime, chain: Option<&[CertificateDer<'_>]>) -> String {
    let chain: Vec<Vec<u8>> = chain.unwrap().iter().map(|certificate| certificate.to_vec()).collect();
    runtime.block_on(identity.verify_svid(Svid::X509(&chain))).unwrap().workload_id.to_string()
}

fn limited(stream: TcpStream) -> TcpStream {
    let limit = Some(Duration::from_secs(10));
    stream.set_read_timeout(limit).unwrap();
    stream.set_write_timeout(limit).unwrap();
    stream
}
