//! Whole passports: verified, parsed, serialised.

use std::hint::black_box;
use std::thread;

use ed25519_dalek::{Signature, VerifyingKey};
use kest::identity::IdentityProvider;
use kest::verify::{Remembered, UnverifiedPassport, Verifier};

use crate::Result;
use crate::chain::{Engine, Maker};
use crate::clock::{Clock, least};
use crate::report::{Line, Report};

const NAMES: [&str; 6] =
    ["verify/1-thread", "verify/all-cores", "parse", "serialize", REMEMBERED, REMEMBERED_SIGNATURES];
const REMEMBERED: &str = "verify/remembered/1-new";
const REMEMBERED_SIGNATURES: &str = "verify/remembered/1-new/signatures";

/// Prints the lines of `verify`, `parse` and `serialize`.
pub(crate) fn measure(report: &mut Report, quick: bool) -> Result<()> {
    if !NAMES.iter().any(|name| report.wants(name)) {
        return Ok(());
    }
    let maker = Maker::new(Engine::AllowAll)?;
    kest::reconfigure(maker.kest.clone())?;
    let lengths: &[usize] = if quick { &[1, 10, 100, 1_000] } else { &[1, 10, 100, 1_000, 10_000] };
    for n in lengths {
        let repeats = if quick { 3 } else { (40_000 / n).clamp(6, 500) };
        measure_length(report, &maker, *n, repeats)?;
    }
    for before in [10, 100, 1_000] {
        measure_remembered(report, &maker, before, if quick { 3 } else { 200 })?;
    }
    kest::clear();
    Ok(())
}

/// One new entry after so many that were verified before.
fn measure_remembered(report: &mut Report, maker: &Maker, before: usize, repeats: usize) -> Result<()> {
    let received = UnverifiedPassport::deserialize(&maker.passport(before + 1)?.serialize())?;
    let known: UnverifiedPassport = received.entries().take(before).collect();
    let plain = || Verifier::builder().keys(maker.anchors.clone()).threads(1);
    let memory = Remembered::new(10_000);
    let remembering = plain().remember(memory.clone()).build();
    let once = || {
        memory.clear();
        black_box(known.clone().verify(&remembering)?);
        verify(&remembering, &received, Clock::Processor)
    };
    if report.wants(REMEMBERED) {
        let all = plain().build();
        let times = in_turns(repeats, once, || verify(&all, &received, Clock::Processor))?;
        report.add(line(REMEMBERED, before + 1, 1, times))?;
    }
    if report.wants(REMEMBERED_SIGNATURES) {
        let floor = Signatures::of(maker, &received)?;
        let times = in_turns(repeats, once, || floor.check(1, Clock::Processor))?;
        report.add(line(REMEMBERED_SIGNATURES, before + 1, 1, times))?;
    }
    Ok(())
}

/// Verifies a passport and measures nothing.
pub(crate) fn verify_only(entries: usize, times: usize) -> Result<()> {
    let maker = Maker::new(Engine::AllowAll)?;
    kest::reconfigure(maker.kest.clone())?;
    let received = UnverifiedPassport::deserialize(&maker.passport(entries)?.serialize())?;
    let verifier = Verifier::builder().keys(maker.anchors.clone()).threads(1).build();
    for _ in 0..times {
        black_box(received.clone().verify(&verifier)?);
    }
    Ok(())
}

fn measure_length(report: &mut Report, maker: &Maker, n: usize, repeats: usize) -> Result<()> {
    let passport = maker.passport(n)?;
    let text = passport.serialize();
    let received = UnverifiedPassport::deserialize(&text)?;
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);

    if report.wants("verify/1-thread") {
        let verifier = Verifier::builder().keys(maker.anchors.clone()).threads(1).build();
        let floor = Signatures::of(maker, &received)?;
        let times = in_turns(
            repeats,
            || verify(&verifier, &received, Clock::Processor),
            || floor.check(1, Clock::Processor),
        )?;
        report.add(line("verify/1-thread", n, 1, times))?;
    }
    if report.wants("verify/all-cores") {
        let floor = Signatures::of(maker, &received)?;
        let times = in_turns(
            repeats,
            || verify(&maker.verifier, &received, Clock::Wall),
            || floor.check(cores, Clock::Wall),
        )?;
        report.add(line("verify/all-cores", n, cores, times))?;
    }
    if report.wants("parse") {
        let copy = || received.entries().map(Box::<str>::from).collect::<Vec<_>>();
        let times = in_turns(
            repeats,
            || {
                let (ns, parsed) = Clock::Processor.time(|| UnverifiedPassport::deserialize(&text));
                black_box(parsed?);
                Ok(ns)
            },
            || Ok(Clock::Processor.time(|| black_box(copy())).0),
        )?;
        report.add(line("parse", n, 1, times))?;
    }
    if report.wants("serialize") {
        let copy = || {
            let mut all = String::with_capacity(text.len());
            received.entries().for_each(|entry| all.push_str(entry));
            all
        };
        let times = in_turns(
            repeats,
            || Ok(Clock::Processor.time(|| black_box(passport.serialize())).0),
            || Ok(Clock::Processor.time(|| black_box(copy())).0),
        )?;
        report.add(line("serialize", n, 1, times))?;
    }
    Ok(())
}

/// The least time of each, taking turns.
fn in_turns(
    repeats: usize,
    mut work: impl FnMut() -> Result<f64>,
    mut floor: impl FnMut() -> Result<f64>,
) -> Result<(f64, f64)> {
    let (mut times, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..repeats {
        times.push(work()?);
        floors.push(floor()?);
    }
    Ok((least(&times), least(&floors)))
}

fn line(name: &str, n: usize, threads: usize, (ns, floor_ns): (f64, f64)) -> Line {
    Line {
        name: name.to_owned(),
        n,
        threads,
        ns: Some(ns),
        floor_ns: Some(floor_ns),
        ratio: Some(ns / floor_ns),
        ..Line::default()
    }
}

fn verify(verifier: &Verifier, received: &UnverifiedPassport, clock: Clock) -> Result<f64> {
    let received = received.clone();
    let (ns, verified) = clock.time(|| received.verify(verifier));
    black_box(verified?);
    Ok(ns)
}

/// The signatures of a passport, ready to be checked.
pub(crate) struct Signatures<'a> {
    key: VerifyingKey,
    all: Vec<(&'a [u8], Signature)>,
}

/// Below this, `verify` checks signatures on one thread.
const CHECKED_IN_PARALLEL: usize = 16;

impl<'a> Signatures<'a> {
    pub(crate) fn of(maker: &Maker, received: &'a UnverifiedPassport) -> Result<Self> {
        let keys = maker.identity.public_keys()?;
        let key = keys.0.first().and_then(|jwk| jwk.as_ed25519()).ok_or("the key is no Ed25519 key")?;
        let signature = |jws: &'a str| -> Result<(&'a [u8], Signature)> {
            let (input, signature) = jws.rsplit_once('.').ok_or("the entry is no JWS")?;
            let bytes = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(signature)?;
            Ok((input.as_bytes(), Signature::from_slice(&bytes)?))
        };
        Ok(Self {
            key: VerifyingKey::from_bytes(key)?,
            all: received.entries().map(signature).collect::<Result<_>>()?,
        })
    }

    pub(crate) fn check(&self, threads: usize, clock: Clock) -> Result<f64> {
        let threads = if self.all.len() < CHECKED_IN_PARALLEL { 1 } else { threads };
        let (ns, good) = clock.time(|| self.check_all(threads));
        if good { Ok(ns) } else { Err("a signature of the floor is not good".into()) }
    }

    fn check_all(&self, threads: usize) -> bool {
        let check = |part: &[(&[u8], Signature)]| {
            part.iter().all(|(input, signature)| self.key.verify_strict(input, signature).is_ok())
        };
        if threads == 1 {
            return check(&self.all);
        }
        let mut parts = self.all.chunks(self.all.len().div_ceil(threads));
        let first = parts.next().unwrap_or_default();
        thread::scope(|scope| {
            let others: Vec<_> = parts.map(|part| scope.spawn(move || check(part))).collect();
            check(first) & others.into_iter().all(|other| other.join().unwrap_or(false))
        })
    }
}
