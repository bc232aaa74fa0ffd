//! Memory of a service under many hostile requests at a time, over sockets.
//!
//! The service is a process of its own; its peak is what the operating system saw, beside that of a service with nothing
//! in front under the same requests.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64_simd::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use kest::cache::{ClaimCache, ClaimId};
use kest::http::{LineageLayer, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::Barrier;

use super::{Ready, baggage, services};
use crate::Result;
use crate::chain::{Engine, Maker};
use crate::report::{Line, Report};

const NAME: &str = "http/hostile";
/// The longest that a request may wait for its answer.
const ANSWERED: Duration = Duration::from_secs(120);

/// Prints the line `http/hostile`.
pub(super) fn measure(report: &mut Report, at_once: usize) -> Result<()> {
    if !report.wants(NAME) {
        return Ok(());
    }
    let attacks = Arc::new(attacks()?);
    let open = peak(&attacks, at_once, false)?;
    let layered = peak(&attacks, at_once, true)?;
    report.add(Line {
        name: NAME.to_owned(),
        n: at_once,
        threads: at_once,
        ratio: layered.zip(open).map(|(layered, open)| layered as f64 / open as f64),
        bytes: layered,
        floor_bytes: open,
        ..Line::default()
    })
}

/// By how much the service grew, at its peak.
fn peak(attacks: &Arc<Vec<String>>, at_once: usize, layered: bool) -> Result<Option<usize>> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut child = command
        .arg("besieged")
        .args(layered.then_some("--layered"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut answers = BufReader::new(child.stdout.take().ok_or("the service says nothing")?).lines();
    let mut answer = || answers.next().transpose();
    let port: u16 = answer()?.ok_or("the service did not start, see above")?.parse()?;
    let statuses = Runtime::new()?.block_on(attack(attacks, at_once, port))?;
    eprintln!("{NAME}: {} answered {statuses:?}", if layered { "the layers" } else { "a service alone" });
    let refused: usize = statuses.iter().filter(|(status, _)| **status >= 400).map(|(_, count)| count).sum();
    if refused != if layered { at_once } else { 0 } {
        return Err(format!("the hostile requests were answered with {statuses:?}").into());
    }
    // Whatever comes on its standard input ends it.
    drop(child.stdin.take());
    let grown = answer()?.and_then(|bytes| bytes.parse().ok());
    child.wait()?;
    Ok(grown)
}

/// All connect, then all ask at once. How often each status was the answer.
async fn attack(attacks: &Arc<Vec<String>>, at_once: usize, port: u16) -> Result<BTreeMap<u16, usize>> {
    let ready = Arc::new(Barrier::new(at_once));
    let mut asking = Vec::with_capacity(at_once);
    for number in 0..at_once {
        let broke_off =
            move |what| move |error| format!("connection {number} broke off when it {what}: {error}");
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(broke_off("was made"))?;
        let (attacks, ready) = (Arc::clone(attacks), Arc::clone(&ready));
        asking.push(tokio::spawn(async move {
            let attack = attacks.get(number % attacks.len()).ok_or("there is no attack")?;
            ready.wait().await;
            stream.write_all(attack.as_bytes()).await.map_err(broke_off("asked"))?;
            let mut answer = [0; 12];
            tokio::time::timeout(ANSWERED, stream.read_exact(&mut answer))
                .await
                .map_err(|_| format!("connection {number} had no answer for {} s", ANSWERED.as_secs()))?
                .map_err(broke_off("waited for its answer"))?;
            let status =
                std::str::from_utf8(&answer)?.strip_prefix("HTTP/1.1 ").ok_or("no answer of HTTP")?;
            // Hangs up only when all have theirs.
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((status.parse::<u16>()?, stream))
        }));
    }
    let (mut statuses, mut held) = (BTreeMap::new(), Vec::with_capacity(at_once));
    for one in asking {
        let (status, stream) = one.await??;
        *statuses.entry(status).or_default() += 1;
        held.push(stream);
    }
    Ok(statuses)
}

/// Requests that cost a service as much as they can: bombs below and above the limit, claims that hold a megabyte, long
/// lineages with a wrong signature at their end, lineages of strangers, headers full of members and of escapes.
fn attacks() -> Result<Vec<String>> {
    let tip = "0".repeat(64);
    let bomb = |inflated: usize| -> Result<String> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        write!(encoder, "[\"{}\"]", "a".repeat(inflated))?;
        let packed = URL_SAFE_NO_PAD.encode_to_string(encoder.finish()?);
        Ok(format!("kest.passport_z={packed},kest.chain_tip={tip}"))
    };
    let stranger = Maker::new(Engine::AllowAll)?;
    kest::reconfigure(stranger.kest.clone())?;
    let of_strangers = baggage(&Wire::default(), stranger.passport(7)?)?;
    kest::clear();
    let headers = [
        bomb(1_000_000)?,
        bomb(5_000_000)?,
        format!("kest.claim_check={},kest.chain_tip={tip}", ClaimId::random().to_wire()),
        of_strangers,
        format!("kest.passport={},kest.chain_tip={tip}", "%5B".repeat(2_600)),
        format!("kest.passport=[{}],kest.chain_tip={tip}", "%22a%22%2C".repeat(780)),
        "a=b,".repeat(2_000),
    ];
    Ok(headers
        .into_iter()
        .map(|baggage| format!("GET / HTTP/1.1\r\nhost: localhost\r\nbaggage: {baggage}\r\n\r\n"))
        .collect())
}

/// The service's process: says its port, and at the end by how much it grew.
pub(crate) fn besieged(layered: bool) -> Result<()> {
    let app = if layered { services::open().layer(guarded()?) } else { services::open() };
    let runtime = Runtime::new()?;
    let before = peak_so_far();
    let port = runtime.block_on(services::serve(app))?;
    let mut out = io::stdout();
    writeln!(out, "{port}")?;
    out.flush()?;
    io::stdin().lock().read_line(&mut String::new())?;
    if let Some((before, after)) = before.zip(peak_so_far()) {
        // It stops by itself where the bench is stopped from outside, and then nobody reads what it says.
        writeln!(out, "{}", after.saturating_sub(before)).map_err(|error| {
            format!("the bench was ended before the service that it had started: {error}")
        })?;
    }
    Ok(())
}

fn guarded() -> Result<LineageLayer> {
    let maker = Maker::new(Engine::AllowAll)?;
    let cache = Ready::default();
    cache.put(&ClaimId::random(), &format!("[\"{}\"]", "a".repeat(1_000_000)), Duration::from_secs(60))?;
    let wire = Wire::builder().cache(Arc::new(cache)).build();
    Ok(LineageLayer::builder(maker.kest.clone(), maker.verifier.clone()).wire(wire).build()?)
}

/// Bytes of memory that were in use at the most. Linux only.
fn peak_so_far() -> Option<usize> {
    crate::memory::of_status("VmHWM:")
}
