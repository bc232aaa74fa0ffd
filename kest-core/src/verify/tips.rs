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

/// Of how many principals certificates speak.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Certified {
    None,
    Some,
    All,
}

pub(super) fn time(
    entries: &[Parsed],
    links: &Links,
    certified: Certified,
    verifier: &Verifier,
    report: &mut Report,
) -> Result<(), Failed> {
    if entries.is_empty() {
        return Ok(());
    }
    let Some(ingress) = verifier.options.ingress else {
        report.time = match verifier.options.received_ms {
            None => asserted(certified),
            Some(received_ms) => received(entries, certified, received_ms, report),
        };
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

fn asserted(certified: Certified) -> Axis {
    let text = "asserted time: the signers' own clocks, and nothing to check them against";
    match certified {
        Certified::None => Axis::not_checked(text),
        Certified::Some | Certified::All => {
            Axis::not_checked(format!("{text}; certificates were valid at the times asserted"))
        }
    }
}

/// For an archive: certificates bound when their entries can be from.
fn received(entries: &[Parsed], certified: Certified, received_ms: u64, report: &mut Report) -> Axis {
    let mut later = entries.iter().enumerate().filter(|(_, parsed)| parsed.entry.timestamp_ms > received_ms);
    let ahead = later.next().map(|(first, parsed)| {
        let ahead_ms = parsed.entry.timestamp_ms.saturating_sub(received_ms);
        let count = 1 + later.count();
        let text = "dated later than the passport was received, by";
        report.find(Some(first), format!("{text} {ahead_ms} ms (entries: {count})"));
    });
    match (certified, ahead) {
        (Certified::All, None) => Axis::pass(format!(
            "every certificate was valid when the passport was received, at {received_ms} ms"
        )),
        (Certified::All, Some(())) => Axis::not_checked(
            "every certificate was valid at receipt, but entries are dated later (see the findings)",
        ),
        (Certified::Some, _) => Axis::not_checked(
            "asserted time: the signers' own clocks; the certificates there are were valid at receipt, but not every \
             principal has them",
        ),
        (Certified::None, _) => Axis::not_checked(
            "asserted time: the signers' own clocks, and no certificate to hold against the receipt",
        ),
    }
}
