//! What the lineage layer costs where most of a lineage is known.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use kest::http::{LineageLayer, Wire, WireBuilder};
use kest::identity::IdentityProvider as _;
use kest::verify::{Remembered, UnverifiedPassport, Verifier};
use tokio::runtime::{Builder, Runtime};
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::{Ready, baggage};
use crate::Result;
use crate::chain::{Engine, Maker};
use crate::clock::{Clock, least};
use crate::passports::Signatures;
use crate::report::{Line, Report};

/// Prints the lines `http/layer/…` and its parts, `http/read/…` and `http/verify/…`.
pub(super) fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let repeats = if quick { 3 } else { 200 };
    let claim = Wire::builder().cache(Arc::new(Ready::default()));
    // A header that no server takes by default; with it one sees what inflating costs.
    let packed = Wire::builder().always_compressed().tier_bytes(1 << 20).header_bytes(1 << 20);
    let arrivals = [
        ("new/plain", Wire::builder(), 0, 1),
        ("new/plain", Wire::builder(), 0, 3),
        ("new/packed", Wire::builder(), 0, 7),
        ("1-new/claim", claim, 100, 1),
        ("1-new/packed", packed, 100, 1),
    ];
    for (kind, wire, before, new) in arrivals {
        let parts = [
            format!("http/layer/{kind}"),
            format!("http/read/{kind}"),
            format!("http/verify/{kind}"),
            format!("http/layer/{kind}/signatures"),
        ];
        if parts.iter().any(|name| report.wants(name)) {
            let arriving = Arriving::new(wire, before, new)?;
            for (name, times) in parts.iter().zip(arriving.times(repeats)?) {
                if report.wants(name) {
                    report.add(line(name, before + new, &times))?;
                }
            }
        }
    }
    Ok(())
}

fn line(name: &str, n: usize, (times, floors): &(Vec<f64>, Vec<f64>)) -> Line {
    let (ns, floor_ns) = (least(times), least(floors));
    Line {
        name: name.to_owned(),
        n,
        threads: 1,
        ns: Some(ns),
        floor_ns: Some(floor_ns),
        ratio: Some(ns / floor_ns),
        ..Line::default()
    }
}

/// A request, and everything that it meets.
struct Arriving {
    maker: Maker,
    runtime: Runtime,
    wire: Wire,
    baggage: String,
    received: UnverifiedPassport,
    known: UnverifiedPassport,
    memory: Remembered,
    remembering: Verifier,
    forgetful: Verifier,
    layer: LineageLayer,
}

impl Arriving {
    fn new(wire: WireBuilder, before: usize, new: usize) -> Result<Self> {
        let maker = Maker::new(Engine::AllowAll)?;
        kest::reconfigure(maker.kest.clone())?;
        let passport = maker.passport(before + new)?;
        kest::clear();
        let wire = wire.build();
        let baggage = baggage(&wire, passport.clone())?;
        let received = UnverifiedPassport::deserialize(&passport.serialize())?;
        let known = received.entries().take(before).collect();
        let memory = Remembered::new(10_000);
        let plain = Verifier::builder().keys(maker.anchors.clone()).threads(1).build();
        let caller = maker.identity.workload_id()?;
        let layer = LineageLayer::builder(maker.kest.clone(), plain.clone())
            .wire(wire.clone())
            .remember(memory.clone())
            .allow(&*caller)
            .build()?;
        let now_ms = u64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis())?;
        let forgetful = plain.for_ingress(now_ms, Duration::from_secs(3_600), Duration::from_secs(30));
        Ok(Self {
            maker,
            runtime: Builder::new_current_thread().enable_all().build()?,
            wire,
            baggage,
            received,
            known,
            remembering: forgetful.remembering(&memory),
            forgetful,
            memory,
            layer,
        })
    }

    /// Of the layer, of reading alone, and of verifying alone, each in turns with verifying all anew; and of the layer
    /// in turns with nothing but all signatures.
    fn times(&self, repeats: usize) -> Result<[(Vec<f64>, Vec<f64>); 4]> {
        let mut all: [(Vec<f64>, Vec<f64>); 4] = Default::default();
        let signatures = Signatures::of(&self.maker, &self.received)?;
        for _ in 0..repeats {
            let (layer, read) = (self.layer()?, self.read()?);
            let of = [layer, read, self.verify(&self.remembering)?, layer];
            let anew = self.verify(&self.forgetful)?;
            let floor = [anew, anew, anew, signatures.check(1, Clock::Process)?];
            for ((times, floors), (ns, floor)) in all.iter_mut().zip(of.into_iter().zip(floor)) {
                times.push(ns);
                floors.push(floor);
            }
        }
        Ok(all)
    }

    /// What is remembered is what came before.
    fn remember(&self) -> Result<()> {
        self.memory.clear();
        black_box(self.known.clone().verify(&self.remembering)?);
        Ok(())
    }

    fn layer(&self) -> Result<f64> {
        self.remember()?;
        let inner =
            service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
        let service = self.layer.layer(inner);
        let request = Request::builder().header("baggage", &self.baggage).body(Body::empty())?;
        let (ns, answer) = Clock::Process.time(|| self.runtime.block_on(service.oneshot(request)));
        match answer?.status() {
            StatusCode::OK => Ok(ns),
            status => Err(format!("the layer refuses the lineage: {status}").into()),
        }
    }

    fn read(&self) -> Result<f64> {
        let header = [self.baggage.as_bytes()];
        let (ns, arrived) = Clock::Process.time(|| self.wire.read_blocking(&header));
        black_box(arrived?);
        Ok(ns)
    }

    fn verify(&self, verifier: &Verifier) -> Result<f64> {
        self.remember()?;
        let received = self.received.clone();
        let (ns, verified) = Clock::Process.time(|| received.verify(verifier));
        black_box(verified?);
        Ok(ns)
    }
}
