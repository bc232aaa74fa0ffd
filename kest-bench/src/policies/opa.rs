//! OPA on loopback, beside a bare client of the same HTTP library that posts the same body.

use std::env;
use std::hint::black_box;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use kest::policy::{Decision, InputDocument, OpaEngine, PolicyEngine, PolicyRequest};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

use super::in_turns;
use crate::Result;
use crate::report::Report;

const LINE: &str = "policy/opa";
const POLICY: &str = "kest/allow_trusted";

/// Asks the server that `KEST_OPA_URL` names, which must hold this repository's `policies/`; without one there is no
/// such line.
pub(super) fn measure(report: &mut Report, input: &InputDocument, rounds: usize) -> Result<()> {
    if !report.wants(LINE) {
        return Ok(());
    }
    let Ok(url) = env::var("KEST_OPA_URL") else {
        eprintln!("{LINE} is not measured: KEST_OPA_URL names no server");
        return Ok(());
    };
    let engine = OpaEngine::from_env()?;
    let ask = || {
        input.with_input(|input| match engine.evaluate(&PolicyRequest { policy: POLICY, input })? {
            Decision::Allow { .. } => Ok(()),
            Decision::Deny { .. } => Err("OPA denies".into()),
        })
    };
    let mut bare = Bare::connect(&url, &json!({"input": input}))?;
    report.add(in_turns(LINE.to_owned(), 1, rounds, ask, || bare.ask())?)
}

/// One connection, one body.
struct Bare {
    run_time: Runtime,
    connection: SendRequest<Full<Bytes>>,
    authority: String,
    body: Bytes,
}

impl Bare {
    fn connect(url: &str, body: &serde_json::Value) -> Result<Self> {
        let url: Uri = url.parse()?;
        let authority = url.authority().ok_or("the URL names no server")?.to_string();
        let run_time = Builder::new_current_thread().enable_all().build()?;
        let connection = run_time.block_on(async {
            let stream = TcpStream::connect(&authority).await?;
            stream.set_nodelay(true)?;
            let (connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(driver);
            Result::Ok(connection)
        })?;
        Ok(Self { run_time, connection, authority, body: serde_json::to_vec(body)?.into() })
    }

    fn ask(&mut self) -> Result<()> {
        let Self { run_time, connection, authority, body } = self;
        run_time.block_on(async {
            let request = Request::post(format!("/v1/data/{POLICY}?strict-builtin-errors=true"))
                .header(header::HOST, authority.as_str())
                .header(header::CONTENT_TYPE, "application/json")
                .body(Full::new(body.clone()))?;
            connection.ready().await?;
            let answer = connection.send_request(request).await?;
            if answer.status() != StatusCode::OK {
                return Err(format!("OPA answers {}", answer.status()).into());
            }
            black_box(answer.into_body().collect().await?.to_bytes());
            Ok(())
        })
    }
}
