//! What every audit sink keeps to. Spec §14.

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kest_core::audit::{AuditRecord, AuditSink};
use kest_core::canonical;
use kest_core::identity::IdentityProvider;
use kest_core::jws::Jws;
use serde_json::json;

use super::executor::{begin_and_drop, block_on, block_on_timed};

/// One rule of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Check {
    /// What was acknowledged is there, byte for byte and in order: small and large.
    Kept,
    /// The async form does the same, on no particular run-time, and does not block the thread that polls it.
    AsyncForm,
    /// A caller that gives up does no harm to others.
    Abandoned,
    /// Many threads can use it at once, and each entry is there once.
    Concurrency,
    /// Receipts of denials are kept as well.
    Denials,
    /// `Debug` shows no entry.
    Debug,
}

/// A rule that a sink breaks.
pub type ConformanceFailure = super::ConformanceFailure<Check>;

/// Holds a sink to every rule. It stores some hundred entries that `signer` signs.
///
/// `stored` gives the compact JWS strings of all entries that the sink's store has, in order.
///
/// # Errors
/// The first rule that the sink breaks.
pub fn run(
    sink: &dyn AuditSink,
    signer: &dyn IdentityProvider,
    stored: &dyn Fn() -> Vec<String>,
) -> Result<(), ConformanceFailure> {
    let suite = Suite { sink, signer, stored };
    suite.kept()?;
    suite.async_form()?;
    suite.abandoned()?;
    suite.concurrency()?;
    suite.denials()?;
    suite.debug()
}

struct Suite<'a> {
    sink: &'a dyn AuditSink,
    signer: &'a dyn IdentityProvider,
    stored: &'a dyn Fn() -> Vec<String>,
}

fn failed(check: Check, detail: impl fmt::Display) -> ConformanceFailure {
    ConformanceFailure::new("the audit sink", check, detail)
}

/// An entry that nobody asked for, signed.
struct Sample {
    jws: Jws,
    hash: [u8; 32],
    entry_id: String,
    workload: Arc<str>,
}

impl Sample {
    fn record<'a>(&'a self, signer: &'a dyn IdentityProvider) -> AuditRecord<'a> {
        AuditRecord::new(self.jws.as_str(), &self.hash, &self.entry_id, &self.workload, signer)
    }
}

impl Suite<'_> {
    fn sample(
        &self,
        check: Check,
        number: u64,
        classification: &str,
        padding: usize,
    ) -> Result<Sample, ConformanceFailure> {
        let wrong = |error: &dyn fmt::Display| {
            failed(check, format!("no entry could be signed for the test: {error}"))
        };
        let workload = self.signer.workload_id().map_err(|error| wrong(&error))?;
        let (entry_id, payload) = entry(&workload, number, classification, padding);
        let payload = canonical::to_vec(&payload).map_err(|error| wrong(&error))?;
        let jws = self.signer.sign(&payload).map_err(|error| wrong(&error))?;
        let hash = jws.hash();
        Ok(Sample { jws, hash, entry_id, workload })
    }

    fn append(&self, check: Check, sample: &Sample) -> Result<(), ConformanceFailure> {
        self.sink.append(&sample.record(self.signer)).map_err(|error| failed(check, error))
    }

    fn has_at_end(&self, check: Check, samples: &[Sample]) -> Result<(), ConformanceFailure> {
        let stored = (self.stored)();
        let tail = stored.get(stored.len().saturating_sub(samples.len())..).unwrap_or_default();
        if tail.len() == samples.len()
            && tail.iter().zip(samples).all(|(text, sample)| *text == sample.jws.as_str())
        {
            return Ok(());
        }
        Err(failed(
            check,
            format!("the last of {} stored entries are not the acknowledged ones", stored.len()),
        ))
    }

    fn kept(&self) -> Result<(), ConformanceFailure> {
        let mut samples = Vec::new();
        for (number, padding) in [0, 1, 100, 10_000, 40_000].into_iter().enumerate() {
            let sample = self.sample(Check::Kept, number as u64, "system", padding)?;
            self.append(Check::Kept, &sample)?;
            samples.push(sample);
            self.has_at_end(Check::Kept, &samples)?;
        }
        Ok(())
    }

    fn async_form(&self) -> Result<(), ConformanceFailure> {
        const LONGEST: Duration = Duration::from_millis(500);
        let mut samples = Vec::new();
        for number in 0..8 {
            let sample = self.sample(Check::AsyncForm, 100 + number, "data", 10)?;
            let record = sample.record(self.signer);
            let (result, longest) = block_on_timed(self.sink.append_async(&record));
            result.map_err(|error| failed(Check::AsyncForm, error))?;
            if longest > LONGEST {
                return Err(failed(Check::AsyncForm, format!("one poll took {longest:?}")));
            }
            samples.push(sample);
        }
        self.has_at_end(Check::AsyncForm, &samples)
    }

    fn abandoned(&self) -> Result<(), ConformanceFailure> {
        for number in 0..16 {
            let sample = self.sample(Check::Abandoned, 200 + number, "data", 10)?;
            begin_and_drop(self.sink.append_async(&sample.record(self.signer)));
        }
        let sample = self.sample(Check::Abandoned, 300, "data", 10)?;
        let record = sample.record(self.signer);
        block_on(self.sink.append_async(&record)).map_err(|error| failed(Check::Abandoned, error))?;
        self.has_at_end(Check::Abandoned, &[sample])
    }

    fn concurrency(&self) -> Result<(), ConformanceFailure> {
        const THREADS: u64 = 8;
        const EACH: u64 = 16;
        let mut samples = Vec::new();
        for number in 0..THREADS * EACH {
            samples.push(self.sample(Check::Concurrency, 1_000 + number, "system", 64)?);
        }
        let (sink, signer) = (self.sink, self.signer);
        let work = |part: &[Sample]| {
            part.iter().try_for_each(|sample| {
                sink.append(&sample.record(signer)).map_err(|error| failed(Check::Concurrency, error))
            })
        };
        thread::scope(|scope| {
            let threads: Vec<_> =
                samples.chunks(EACH as usize).map(|part| scope.spawn(move || work(part))).collect();
            threads.into_iter().try_for_each(|thread| {
                thread.join().map_err(|_| failed(Check::Concurrency, "a thread that used it panicked"))?
            })
        })?;
        let stored = (self.stored)();
        for part in samples.chunks(EACH as usize) {
            let mut places = Vec::new();
            for sample in part {
                let mut found = stored.iter().enumerate().filter(|(_, text)| **text == sample.jws.as_str());
                match (found.next(), found.next()) {
                    (Some((place, _)), None) => places.push(place),
                    (None, _) => {
                        return Err(failed(Check::Concurrency, "an acknowledged entry is not there"));
                    }
                    (Some(_), Some(_)) => return Err(failed(Check::Concurrency, "an entry is there twice")),
                }
            }
            if !places.is_sorted() {
                return Err(failed(Check::Concurrency, "entries of one thread are out of order"));
            }
        }
        Ok(())
    }

    fn denials(&self) -> Result<(), ConformanceFailure> {
        let sample = self.sample(Check::Denials, 2_000, "denial", 0)?;
        self.sink
            .append(&sample.record(self.signer).denial())
            .map_err(|error| failed(Check::Denials, error))?;
        self.has_at_end(Check::Denials, &[sample])
    }

    fn debug(&self) -> Result<(), ConformanceFailure> {
        let sample = self.sample(Check::Debug, 3_000, "system", 0)?;
        self.append(Check::Debug, &sample)?;
        let shown = format!("{:?}", self.sink);
        if shown.contains(sample.jws.as_str()) || shown.len() > 1_000 {
            return Err(failed(Check::Debug, "it shows what it keeps, or too much"));
        }
        Ok(())
    }
}

/// An id (UUID version 7) and the payload of an own entry. Spec §2.
fn entry(workload: &str, number: u64, classification: &str, padding: usize) -> (String, serde_json::Value) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let entry_id = format!("{:08x}-{:04x}-7000-8000-{number:012x}", now >> 16, now & 0xffff);
    let denied = json!({ "policy": "kest", "reason": null, "tier": "function" });
    let mut metadata = json!({
        "function": "conformance::audit",
        "policies": {},
        "trust": { "model": "guide", "override": null, "source_type": "system" },
    });
    if let (true, Some(members)) = (classification == "denial", metadata.as_object_mut()) {
        members.insert("denied".to_owned(), denied);
    }
    let payload = json!({
        "added_taints": [],
        "classification": classification,
        "content_hash": "",
        "entry_id": entry_id,
        "environment": {},
        "input_hash": "",
        "labels": {
            "padding": "x".repeat(padding),
            "principal": workload,
            "trace_id": format!("{number:032x}"),
        },
        "metadata": metadata,
        "operation": "conformance",
        "otel_context": {},
        "parent_ids": ["0"],
        "policy_context": {
            "app_policies": [], "deviations": [], "enterprise_policies": [], "function_policies": ["kest"],
            "platform_policies": [],
        },
        "removed_taints": [],
        "runtime": { "name": kest_core::RUNTIME_NAME, "version": kest_core::RUNTIME_VERSION },
        "schema_version": kest_core::SCHEMA_VERSION,
        "taints": [],
        "timestamp_ms": now,
        "trust_score": 100,
    });
    (entry_id, payload)
}
