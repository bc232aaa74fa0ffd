//! From an unverified passport to a verified one. Spec §13.
//!
//! [`UnverifiedPassport::verify`] is the only way. The steps run one after the other, each over all entries before
//! the next; the first failure is named with its entry, its step and its cause.

mod alone;
mod authority;
mod bundle;
mod certificate;
mod error;
mod failure;
mod jose;
mod key;
mod keysource;
mod links;
mod parallel;
mod remember;
mod report;
mod semantics;
mod signature;
mod spiffe_id;
mod tips;
mod unverified;
mod verified;
mod verifier;
mod x509;

pub use self::authority::{Authority, AuthorityError, Grant};
pub use self::bundle::{Authorities, BundleError, TrustBundles};
pub use self::certificate::{ChainError, Moment};
#[cfg(feature = "aws-lc")]
#[doc(hidden)]
pub use self::certificate::{chain_needed, chain_order, chain_refused};
pub use self::error::{Step, VerifyError};
pub use self::failure::VerifyFailure;
pub use self::keysource::{Anchors, FnKeySource, KeySource, ProviderKeys};
pub use self::remember::Remembered;
pub use self::report::{Axis, Finding, Report, Verdict};
pub use self::spiffe_id::{SpiffeId, SpiffeIdError};
pub use self::unverified::UnverifiedPassport;
pub use self::verified::{Effective, VerifiedPassport};
pub use self::verifier::{DangerousVerifierBuilder, InvalidTip, Limits, Verifier, VerifierBuilder};
pub use self::x509::CertificateError;
pub(crate) use self::x509::subject_public_key_info;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use self::jose::{Parsed, Parser};
use self::key::KeyPrint;
use self::signature::{Principals, Resolved, Trusted};
use crate::entry::KestEntry;
use crate::passport::Passport;

/// Reading an entry is cheap, so threads pay only for many.
const PARSED_IN_PARALLEL: usize = 128;
const CHECKED_IN_PARALLEL: usize = 16;
/// Room that is made for entries before they are read.
const RESERVED: usize = 4_096;

/// A failure: the entry, the step, the cause.
type Failed = (Option<usize>, Step, VerifyFailure);

/// `hashes`: of each entry, if they are known.
fn run(
    passport: Vec<Box<str>>,
    hashes: Option<Box<[[u8; 32]]>>,
    verifier: &Verifier,
) -> Result<VerifiedPassport, VerifyError> {
    let mut report = Report::new(passport.len());
    match steps(passport, hashes.as_deref(), verifier, &mut report) {
        Ok(done) => Ok(VerifiedPassport::new(done, report)),
        Err((entry, step, failure)) => {
            let at = entry.map_or(String::new(), |entry| format!("entry {entry}: "));
            let axis = Axis::fail(format!("{at}{failure}"));
            match step {
                // What cannot be read is signed by nobody.
                Step::Parse | Step::Signatures => report.signatures = axis,
                Step::Links => report.links = axis,
                Step::Principals => report.identity = axis,
                Step::Schema | Step::Semantics | Step::Authority => report.semantics = axis,
                Step::Completeness => report.completeness = axis,
                Step::Time => report.time = axis,
            }
            Err(VerifyError::new(entry, step, failure, report))
        }
    }
}

/// What a verified passport is made of.
struct Done {
    passport: Passport,
    entries: Vec<Arc<KestEntry>>,
    effective: Vec<Effective>,
    tips: Vec<usize>,
}

fn steps(
    passport: Vec<Box<str>>,
    hashes: Option<&[[u8; 32]]>,
    verifier: &Verifier,
    report: &mut Report,
) -> Result<Done, Failed> {
    let at = |(index, step, failure)| (Some(index), step, failure);
    let parsed = read(&passport, hashes, verifier)?;
    for (index, parsed) in parsed.iter().enumerate() {
        for departure in &parsed.entry.departures {
            report.depart(index, departure);
        }
        if parsed.entry.more_departures > 0 {
            report.depart(index, format_args!("and {} more of the kind", parsed.entry.more_departures));
        }
    }
    let principals = Principals::collect(&parsed);
    let links = links::check(&parsed, &principals).map_err(at)?;
    if !passport.is_empty() {
        report.links = Axis::pass(match links.tips.len() {
            1 => Cow::Borrowed("every parent is there; one tip"),
            tips => Cow::Owned(format!("every parent is there; {tips} tips")),
        });
    }
    let Proof { certified, predated, good } = if verifier.options.skip_signatures {
        skip_proof(report)
    } else {
        prove(&passport, &parsed, &principals, verifier, report)?
    };
    drop(principals);
    let nodes = semantics::check(passport, &parsed, &links, verifier, report).map_err(at)?;
    tips::completeness(&parsed, &links, verifier, report)?;
    tips::time(&parsed, &links, certified, verifier, report)?;
    if predated && report.time.verdict == Verdict::Pass {
        report.time = Axis::not_checked("entries are dated before their certificates (see the findings)");
    }
    // What is refused for whatever reason pushes nothing out.
    if let Some(remembered) = &verifier.remembered {
        for (index, key) in good {
            if let Some(parsed) = parsed.get(index) {
                remembered.good(parsed, key);
            }
        }
    }
    let passport = Passport::from_tips(links.tips.iter().filter_map(|tip| nodes.get(*tip)).cloned());
    let effective = nodes.iter().map(|node| Effective::of(node)).collect();
    let entries = parsed.into_iter().map(|parsed| parsed.entry).collect();
    Ok(Done { passport, entries, effective, tips: links.tips })
}

/// What certificates said of the principals.
struct Proof {
    certified: tips::Certified,
    predated: bool,
    /// Entries whose signature was checked now, and the key.
    good: Good,
}

type Good = Vec<(usize, KeyPrint)>;

/// The fourth and the fifth step: who signed.
fn prove(
    passport: &[Box<str>],
    parsed: &[Parsed],
    principals: &Principals<'_>,
    verifier: &Verifier,
    report: &mut Report,
) -> Result<Proof, Failed> {
    let at = |(index, step, failure)| (Some(index), step, failure);
    let resolved = signature::resolve(verifier, principals, parsed).map_err(at)?;
    report::identity(parsed, principals, &resolved, verifier, report);
    let good = check_signatures(passport, parsed, principals, &resolved, verifier)?;
    let trusted = |principal: &usize| resolved.trusted.get(*principal);
    let mocked = principals.of.iter().filter(|p| matches!(trusted(p), Some(Trusted::Mock))).count();
    if mocked > 0 {
        let text = format!("mock signatures prove nothing: {mocked} of {} entries have one", parsed.len());
        report.signatures = Axis::not_checked(text);
    } else if !passport.is_empty() {
        report.signatures = Axis::pass("every entry is signed by a key of its principal");
    }
    let certified = match (resolved.certified(), resolved.trusted.len()) {
        (0, _) => tips::Certified::None,
        (some, all) if some < all => tips::Certified::Some,
        (_, _) => tips::Certified::All,
    };
    Ok(Proof { certified, predated: resolved.predated.is_some(), good })
}

/// Of a passport that anybody may have made.
fn skip_proof(report: &mut Report) -> Proof {
    if report.entries > 0 {
        let what = "the verifier was told to skip signatures, and anybody can make such entries";
        report.signatures = Axis::not_checked(what);
        report.identity = Axis::not_checked(format!("{what}: no principal is known to be who it says"));
    }
    Proof { certified: tips::Certified::None, predated: false, good: Vec::new() }
}

/// What a thread made of its run of entries.
struct Run {
    parsed: Vec<Parsed>,
    /// The first failure of the step `parse`, and the first of the step `schema`.
    unreadable: Option<(usize, VerifyFailure)>,
    no_entry: Option<(usize, VerifyFailure)>,
}

fn read(
    passport: &[Box<str>],
    hashes: Option<&[[u8; 32]]>,
    verifier: &Verifier,
) -> Result<Vec<Parsed>, Failed> {
    let options = &verifier.options;
    let Limits { entries, ingress_entries, .. } = options.limits;
    let (limit, setting) = match options.ingress {
        Some(_) if ingress_entries < entries => (ingress_entries, "ingress_entries"),
        Some(_) | None => (entries, "entries"),
    };
    if passport.len() > limit {
        let failure = VerifyFailure::TooManyEntries { found: passport.len(), limit, setting };
        return Err((None, Step::Parse, failure));
    }
    let threads = verifier.threads(passport.len(), PARSED_IN_PARALLEL);
    // Index of an entry that cannot be read, so that nobody reads on behind it.
    let stop = AtomicUsize::new(usize::MAX);
    let hash = |index: usize| hashes.and_then(|hashes| hashes.get(index)).copied();
    let mut runs =
        parallel::runs(passport, threads, |start, part| read_run(start, part, hash, verifier, &stop));
    // Every entry is parsed before any schema is looked at.
    if let Some((index, failure)) = runs.iter_mut().find_map(|run| run.unreadable.take()) {
        return Err((Some(index), Step::Parse, failure));
    }
    if let Some((index, failure)) = runs.iter_mut().find_map(|run| run.no_entry.take()) {
        return Err((Some(index), Step::Schema, failure));
    }
    let mut runs = runs.into_iter();
    let mut all = runs.next().map(|run| run.parsed).unwrap_or_default();
    all.reserve(passport.len().saturating_sub(all.len()));
    all.extend(runs.flat_map(|run| run.parsed));
    Ok(all)
}

/// INVARIANT: keeps nothing of an entry that cannot be read but the first failure; text of two bytes must not cost
/// hundreds.
fn read_run(
    start: usize,
    part: &[Box<str>],
    hash: impl Fn(usize) -> Option<[u8; 32]>,
    verifier: &Verifier,
    stop: &AtomicUsize,
) -> Run {
    let mut run = Run { parsed: Vec::new(), unreadable: None, no_entry: None };
    let mut parser = Parser::new(&verifier.options.limits, verifier.options.accept_mock)
        .remembering(verifier.remembered.as_ref());
    for (offset, jws) in part.iter().enumerate() {
        let index = start + offset;
        if stop.load(Ordering::Relaxed) < index {
            break;
        }
        match parser.parse(jws, hash(index)) {
            Ok(parsed) if run.no_entry.is_none() => {
                if run.parsed.is_empty() {
                    run.parsed.reserve(part.len().min(RESERVED));
                }
                run.parsed.push(parsed);
            }
            Ok(_) => {}
            Err((Step::Parse, failure)) => {
                stop.fetch_min(index, Ordering::Relaxed);
                run.unreadable = Some((index, failure));
                break;
            }
            Err((_, failure)) => {
                run.parsed = Vec::new();
                run.no_entry.get_or_insert((index, failure));
            }
        }
    }
    run
}

fn check_signatures(
    passport: &[Box<str>],
    parsed: &[Parsed],
    principals: &Principals<'_>,
    resolved: &Resolved,
    verifier: &Verifier,
) -> Result<Good, Failed> {
    // What was good before is no first failure, so it does not matter in which order that is found out.
    let left: Vec<usize> = (0..parsed.len())
        .filter(|index| match (parsed.get(*index), principals.of.get(*index)) {
            (Some(parsed), Some(principal)) => !resolved.was_good(*index, *principal, parsed),
            (_, _) => true,
        })
        .collect();
    let threads = verifier.threads(left.len(), CHECKED_IN_PARALLEL);
    let check = |index: usize| {
        let (Some(jws), Some(parsed), Some(principal)) =
            (passport.get(index), parsed.get(index), principals.of.get(index))
        else {
            return Err(VerifyFailure::Signature);
        };
        resolved.check(index, *principal, parsed, jws)
    };
    let runs = parallel::runs(&left, threads, |_, part: &[usize]| {
        let mut good = Good::new();
        for index in part {
            match check(*index) {
                Ok(Some(key)) => good.push((*index, key)),
                Ok(None) => {}
                Err(failure) => return Err((Some(*index), Step::Signatures, failure)),
            }
        }
        Ok(good)
    });
    let mut all = Good::new();
    for run in runs {
        all.append(&mut run?);
    }
    Ok(all)
}
