//! What a call to another service costs its caller: the header.

use std::hint::black_box;
use std::sync::Arc;

use kest::http::{Parcel, Wire};

use super::Ready;
use crate::Result;
use crate::chain::{Engine, Maker};
use crate::clock::{Clock, least};
use crate::report::{Line, Report};

const NAME: &str = "http/write";

/// Prints the lines `http/write`, beside serialising the same passport.
pub(super) fn measure(report: &mut Report, quick: bool) -> Result<()> {
    if !report.wants(NAME) {
        return Ok(());
    }
    let maker = Maker::new(Engine::AllowAll)?;
    kest::reconfigure(maker.kest.clone())?;
    let wire = Wire::builder().cache(Arc::new(Ready::default())).build();
    for n in [1, 3, 7, 20, 100, 250] {
        let parcel = Parcel::of(maker.passport(n)?);
        let (mut times, mut floors) = (Vec::new(), Vec::new());
        for _ in 0..if quick { 3 } else { 300 } {
            let (ns, written) = Clock::Processor.time(|| wire.write_blocking(&parcel, &[]));
            black_box(written?);
            times.push(ns);
            floors.push(Clock::Processor.time(|| black_box(parcel.passport.serialize())).0);
        }
        let (ns, floor_ns) = (least(&times), least(&floors));
        report.add(Line {
            name: NAME.to_owned(),
            n,
            threads: 1,
            ns: Some(ns),
            floor_ns: Some(floor_ns),
            ratio: Some(ns / floor_ns),
            ..Line::default()
        })?;
    }
    kest::clear();
    Ok(())
}
