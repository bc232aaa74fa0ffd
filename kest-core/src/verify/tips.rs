//! The last steps: is anything missing at the end, and how old is it.

use super::Failed;
use super::error::Step;
use super::failure::VerifyFailure;
use super::jose::Parsed;
use super::links::Links;
use super::report::{Axis, Report};
use super::verifier::Verifier;
use crate::jws::hex;

pub(super) fn completeness(
    entries: &[Parsed],
    links: &Links,
    verifier: &Verifier,
    report: &mut Report,
) -> Result<(), Failed> {
    let tips: Vec<&Parsed> = links.tips.iter().filter_map(|tip| entries.get(*tip)).collect();
    if verifier.options.linear {
        for (index, parents) in links.parents.iter().enumerate() {
            if parents.first().copied() != index.checked_sub(1) {
                return Err((Some(index), Step::Completeness, VerifyFailure::NotLinear));
            }
        }
    }
    match verifier.options.expected_tip {
        None if entries.is_empty() => {}
        None => {
            report.completeness = Axis::not_checked("no tip is expected, so later entries may be missing");
        }
        Some(expected) if matches!(tips.as_slice(), [tip] if tip.hash == expected) => {
            report.completeness = Axis::pass("the tip is the expected one");
        }
        Some(expected) => {
            let found = tips.iter().map(|tip| hex(&tip.hash)).collect();
            let failure = VerifyFailure::Tip { expected: hex(&expected), found };
            return Err((None, Step::Completeness, failure));
        }
    }
    Ok(())
}

pub(super) fn time(
    entries: &[Parsed],
    links: &Links,
    verifier: &Verifier,
    report: &mut Report,
) -> Result<(), Failed> {
    if entries.is_empty() {
        return Ok(());
    }
    let Some(ingress) = verifier.options.ingress else {
        report.time =
            Axis::not_checked("asserted time: the signers' own clocks, and nothing to check them against");
        return Ok(());
    };
    let latest = ingress.now_ms.saturating_add(ingress.skew_ms);
    for (index, parsed) in entries.iter().enumerate() {
        let stamp = parsed.entry.timestamp_ms;
        if stamp > latest {
            let failure = VerifyFailure::FromTheFuture { ahead_ms: stamp.saturating_sub(ingress.now_ms) };
            return Err((Some(index), Step::Time, failure));
        }
    }
    for tip in &links.tips {
        let age_ms =
            entries.get(*tip).map_or(u64::MAX, |tip| ingress.now_ms.saturating_sub(tip.entry.timestamp_ms));
        if age_ms > ingress.max_age_ms.saturating_add(ingress.skew_ms) {
            return Err((Some(*tip), Step::Time, VerifyFailure::TooOld { age_ms }));
        }
    }
    let super::verifier::Ingress { max_age_ms, skew_ms, .. } = ingress;
    report.time =
        Axis::pass(format!("the tips are at most {max_age_ms} ms old, give or take a skew of {skew_ms} ms"));
    Ok(())
}
