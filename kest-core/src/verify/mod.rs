//! From an unverified passport to a verified one. Spec §13.
//!
//! [`UnverifiedPassport::verify`] is the only way. The steps run one after the other, each over all entries before
//! the next; the first failure is named with its entry, its step and its cause.

mod authority;
mod error;
mod failure;
mod jose;
mod keysource;
mod links;
mod parallel;
mod report;
mod semantics;
mod signature;
mod tips;
mod unverified;
mod verified;
mod verifier;
mod x509;

pub use self::authority::{Authority, AuthorityError, Grant};
pub use self::error::{Step, VerifyError};
pub use self::failure::VerifyFailure;
pub use self::keysource::{Anchors, FnKeySource, KeySource, ProviderKeys};
pub use self::report::{Axis, Finding, Report, Verdict};
pub use self::unverified::UnverifiedPassport;
pub use self::verified::VerifiedPassport;
pub use self::verifier::{DangerousVerifierBuilder, InvalidTip, Limits, Verifier, VerifierBuilder};
pub use self::x509::CertificateError;

use self::jose::{Parsed, Parser};
use self::signature::{Principals, Trusted};
use crate::entry::KestEntry;

/// Reading an entry is cheap, so threads pay only for many.
const PARSED_IN_PARALLEL: usize = 128;
const CHECKED_IN_PARALLEL: usize = 16;

/// A failure: the entry, the step, the cause.
type Failed = (Option<usize>, Step, VerifyFailure);

fn run(passport: Vec<Box<str>>, verifier: &Verifier) -> Result<VerifiedPassport, VerifyError> {
    let mut report = Report::new(passport.len());
    match steps(passport, verifier, &mut report) {
        Ok((passport, entries)) => Ok(VerifiedPassport::new(passport, entries, report)),
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

type Done = (crate::passport::Passport, Vec<KestEntry>);

fn steps(passport: Vec<Box<str>>, verifier: &Verifier, report: &mut Report) -> Result<Done, Failed> {
    let at = |(index, step, failure)| (Some(index), step, failure);
    let parsed = read(&passport, verifier)?;
    for (index, parsed) in parsed.iter().enumerate() {
        for departure in &parsed.entry.departures {
            report.find(Some(index), departure.to_string());
        }
    }
    let principals = Principals::collect(&parsed);
    let links = links::check(&parsed, &principals).map_err(at)?;
    if !passport.is_empty() {
        report.links = Axis::pass(match links.tips.len() {
            1 => "every parent is there; one tip".to_owned(),
            tips => format!("every parent is there; {tips} tips"),
        });
    }
    let trusted = signature::resolve(verifier, &principals, &parsed).map_err(at)?;
    let mock = trusted.iter().filter(|trusted| matches!(trusted, Trusted::Mock)).count();
    if mock > 0 {
        report.identity = Axis::not_checked(format!(
            "{mock} of {} principals sign with the mock key, which everybody knows",
            trusted.len()
        ));
    } else if !passport.is_empty() {
        report.identity = Axis::pass(match trusted.len() {
            1 => "its one principal is anchored".to_owned(),
            n => format!("all {n} principals are anchored"),
        });
    }
    check_signatures(&passport, &parsed, &principals, &trusted, verifier)?;
    if !passport.is_empty() {
        report.signatures = Axis::pass("every entry is signed by a key of its principal");
    }
    drop(principals);
    let nodes = semantics::check(passport, &parsed, &links, verifier, report).map_err(at)?;
    tips::completeness(&parsed, &links, verifier, report)?;
    tips::time(&parsed, &links, verifier, report)?;
    let tips = links.tips.iter().filter_map(|tip| nodes.get(*tip)).cloned();
    let passport = crate::passport::Passport::from_tips(tips);
    Ok((passport, parsed.into_iter().map(|parsed| parsed.entry).collect()))
}

fn read(passport: &[Box<str>], verifier: &Verifier) -> Result<Vec<Parsed>, Failed> {
    let options = &verifier.options;
    let limit = match options.ingress {
        Some(_) => options.limits.ingress_entries.min(options.limits.entries),
        None => options.limits.entries,
    };
    if passport.len() > limit {
        let failure = VerifyFailure::TooManyEntries { found: passport.len(), limit };
        return Err((None, Step::Parse, failure));
    }
    let results = parallel::map(
        passport,
        verifier.threads(passport.len(), PARSED_IN_PARALLEL),
        || Parser::new(&options.limits, options.accept_mock),
        |parser, index, jws| parser.parse(jws).map_err(|(step, failure)| (index, step, failure)),
    );
    let mut all = Vec::with_capacity(results.len());
    let mut first: Option<(usize, Step, VerifyFailure)> = None;
    for result in results {
        match result {
            Ok(parsed) => all.push(parsed),
            // Every entry is parsed before any schema is looked at.
            Err(failed) if first.as_ref().is_none_or(|(_, step, _)| failed.1 < *step) => first = Some(failed),
            Err(_) => {}
        }
    }
    match first {
        None => Ok(all),
        Some((index, step, failure)) => Err((Some(index), step, failure)),
    }
}

fn check_signatures(
    passport: &[Box<str>],
    parsed: &[Parsed],
    principals: &Principals<'_>,
    trusted: &[Trusted],
    verifier: &Verifier,
) -> Result<(), Failed> {
    let threads = verifier.threads(parsed.len(), CHECKED_IN_PARALLEL);
    let outcomes = parallel::map(
        parsed,
        threads,
        || false,
        |failed, index, parsed| {
            // The first failure of a run is all that can be the first of the passport.
            if *failed {
                return Ok(());
            }
            let outcome = match (passport.get(index), principals.of.get(index).and_then(|p| trusted.get(*p)))
            {
                (Some(jws), Some(trusted)) => signature::check(parsed, jws, trusted),
                (_, _) => Err(VerifyFailure::Signature),
            };
            *failed = outcome.is_err();
            outcome
        },
    );
    outcomes
        .into_iter()
        .enumerate()
        .try_for_each(|(index, outcome)| outcome.map_err(|failure| (Some(index), Step::Signatures, failure)))
}
