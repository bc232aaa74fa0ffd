//! Protected calls, beside the floor of signing, hashing and encoding the same bytes.

use std::hint::black_box;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use base64_simd::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use kest::verify::VerifiedPassport;
use sha2::{Digest, Sha256};

use crate::Result;
use crate::chain::{Engine, Maker, attributed, bare, bare_async, now};
use crate::clock::{self, median};
use crate::probe;
use crate::report::{Line, Report};

/// What is called.
#[derive(Debug, Clone, Copy)]
enum Call {
    Sync,
    Async,
    Attributed,
}

impl Call {
    fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Async => "async",
            Self::Attributed => "attributes",
        }
    }

    fn make(self) -> Result<u64> {
        let value = black_box(7);
        Ok(match self {
            Self::Sync => bare(value)?,
            Self::Async => now(bare_async(value)).ok_or("the call waited for something")??,
            Self::Attributed => attributed(value)?,
        })
    }
}

/// Calls of each kind in a round, per chain length.
const CALLS: usize = 16;

/// Prints the lines of all calls.
pub(crate) fn measure(report: &mut Report, policies: &Path, quick: bool) -> Result<()> {
    let (lengths, rounds): (&[usize], _) =
        if quick { (&[1, 10, 100, 1_000], 8) } else { (&[1, 10, 100, 1_000, 10_000], 150) };
    for (engine_name, engine) in [("allow-all", Engine::AllowAll), ("rego", Engine::Rego(policies))] {
        let wanted: Vec<_> = [Call::Sync, Call::Async, Call::Attributed]
            .into_iter()
            .flat_map(|call| [1, 2].map(|threads| (call, threads)))
            .map(|(call, threads)| (call, threads, name(call, engine_name, threads)))
            .filter(|(_, _, name)| report.wants(name))
            .collect();
        if wanted.is_empty() {
            continue;
        }
        let maker = Maker::new(engine)?;
        kest::reconfigure(maker.kest.clone())?;
        // Each thread its own, as each request has its own.
        let chains: Vec<Vec<VerifiedPassport>> =
            (0..2).map(|_| lengths.iter().map(|n| maker.verified(*n)).collect()).collect::<Result<_>>()?;
        for (call, threads, name) in wanted {
            let samples = on_threads(call, chains.get(..threads).unwrap_or_default(), rounds)?;
            for (n, samples) in lengths.iter().zip(samples) {
                report.add(samples.line(&name, *n, threads))?;
            }
        }
        kest::clear();
    }
    Ok(())
}

/// Makes calls in one lineage and measures nothing.
pub(crate) fn calls(count: usize, asynchronous: bool, rego: Option<&Path>) -> Result<()> {
    let maker = Maker::new(rego.map_or(Engine::AllowAll, Engine::Rego))?;
    kest::reconfigure(maker.kest.clone())?;
    let call = if asynchronous { Call::Async } else { Call::Sync };
    let scope = maker.kest.enter_from("user_input");
    for _ in 0..count {
        call.make()?;
    }
    drop(scope);
    Ok(())
}

fn name(call: Call, engine: &str, threads: usize) -> String {
    format!("{}/{engine}/{threads}-thread{}", call.name(), if threads == 1 { "" } else { "s" })
}

/// What was measured at one chain length.
#[derive(Debug, Default)]
struct Samples {
    calls: Vec<f64>,
    floors: Vec<f64>,
    /// One a round.
    ratios: Vec<f64>,
    own: Vec<f64>,
}

impl Samples {
    fn absorb(&mut self, other: Self) {
        self.calls.extend(other.calls);
        self.floors.extend(other.floors);
        self.ratios.extend(other.ratios);
        self.own.extend(other.own);
    }

    fn line(self, name: &str, n: usize, threads: usize) -> Line {
        Line {
            name: name.to_owned(),
            n,
            threads,
            ns: Some(median(self.calls)),
            floor_ns: Some(median(self.floors)),
            ratio: Some(median(self.ratios)),
            own_ns: Some(median(self.own)),
            ..Line::default()
        }
    }
}

/// The samples by chain length, of all threads together.
fn on_threads(call: Call, chains: &[Vec<VerifiedPassport>], rounds: usize) -> Result<Vec<Samples>> {
    let start = Barrier::new(chains.len());
    let start = &start;
    let parts: Vec<Result<Vec<Samples>>> = thread::scope(|scope| {
        let threads: Vec<_> =
            chains.iter().map(|chains| scope.spawn(move || run(call, chains, rounds, start))).collect();
        threads.into_iter().map(|t| t.join().map_err(|_| "a thread panicked")?).collect()
    });
    let mut all: Vec<Samples> = Vec::new();
    for part in parts {
        let part = part?;
        all.resize_with(part.len(), Samples::default);
        all.iter_mut().zip(part).for_each(|(all, part)| all.absorb(part));
    }
    Ok(all)
}

fn run(call: Call, chains: &[VerifiedPassport], rounds: usize, start: &Barrier) -> Result<Vec<Samples>> {
    // Nobody returns before all have met: the others would wait for ever.
    let floors: Result<Vec<Floor>> = chains.iter().map(|chain| Floor::of(call, chain)).collect();
    start.wait();
    let floors = floors?;
    let clock = clock::reading();
    let mut all: Vec<Samples> = chains.iter().map(|_| Samples::default()).collect();
    for round in 0..=rounds {
        for ((chain, floor), samples) in chains.iter().zip(&floors).zip(&mut all) {
            let part = burst(call, chain, floor, clock)?;
            // The first round warms up.
            if round > 0 {
                samples.absorb(part);
            }
        }
    }
    Ok(all)
}

/// One round at one chain length.
fn burst(call: Call, chain: &VerifiedPassport, floor: &Floor, clock: f64) -> Result<Samples> {
    let mut samples = Samples::default();
    for _ in 0..CALLS {
        let scope = chain.enter();
        let begun = Instant::now();
        call.make()?;
        samples.calls.push(clock::since(begun) - clock);
        drop(scope);

        let begun = Instant::now();
        black_box(floor.run());
        samples.floors.push(clock::since(begun) - clock);

        let scope = chain.enter();
        let (spent, took) = probe::watch(|| {
            let begun = Instant::now();
            call.make().map(|_| clock::since(begun))
        });
        drop(scope);
        // Of each pair of readings inside, one is in what the probe saw and both are in what the call took.
        samples.own.push(took? - spent.ns - clock * f64::from(1 + spent.pairs));
    }
    samples.ratios.push(median(samples.calls.clone()) / median(samples.floors.clone()));
    Ok(samples)
}

/// What nobody can do without who wants the same bytes signed and hashed.
#[derive(Debug)]
struct Floor {
    key: SigningKey,
    /// The header segment and its dot.
    header: String,
    payload: Vec<u8>,
}

impl Floor {
    /// Of the entry that such a call signs after this chain.
    fn of(call: Call, chain: &VerifiedPassport) -> Result<Self> {
        let scope = chain.enter();
        call.make()?;
        let tips = scope.passport().tips();
        let jws = tips.first().ok_or("the call left no entry")?.jws();
        let mut segments = jws.split('.');
        let (Some(header), Some(payload)) = (segments.next(), segments.next()) else {
            return Err("the entry is no JWS".into());
        };
        Ok(Self {
            key: SigningKey::from_bytes(&[7; 32]),
            header: format!("{header}."),
            payload: URL_SAFE_NO_PAD.decode_to_vec(payload)?,
        })
    }

    fn run(&self) -> ([u8; 32], String) {
        let room = self.header.len() + URL_SAFE_NO_PAD.encoded_length(self.payload.len()) + 1 + 86;
        let mut jws = String::with_capacity(room);
        jws.push_str(&self.header);
        URL_SAFE_NO_PAD.encode_append(&self.payload, &mut jws);
        let signature = self.key.sign(jws.as_bytes());
        jws.push('.');
        URL_SAFE_NO_PAD.encode_append(signature.to_bytes(), &mut jws);
        (Sha256::digest(jws.as_bytes()).into(), jws)
    }
}
