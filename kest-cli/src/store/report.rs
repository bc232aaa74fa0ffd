//! What is said of a store that was checked.

use std::collections::HashMap;

use kest_core::verify::{Axis, Verdict};
use kest_providers::audit::Taken;
use serde::Serialize;

use super::check::{Answer, Found, Options};
use super::progress::grouped;
use crate::output::{Ink, Out};
use crate::text;
use crate::time::utc;

/// What was found, on its way to an answer.
pub(crate) struct Report<'a> {
    pub(crate) found: Found,
    pub(crate) options: &'a Options,
    pub(crate) tip: Option<String>,
    /// Whether one segment was read and nothing around it.
    pub(crate) alone: bool,
    pub(crate) segment: Option<u64>,
    pub(crate) disowned: Option<String>,
    pub(crate) retired: Option<String>,
    pub(crate) taken: Option<Taken>,
    pub(crate) name: String,
}

/// What holds, what not, and what nobody has looked at.
#[derive(Debug, Serialize)]
pub(crate) struct Verdicts {
    /// Each entry by itself.
    pub(crate) signatures: Axis,
    /// Nothing was edited, deleted or moved by somebody who does not do the sums anew.
    pub(crate) running_hash: Axis,
    /// The running hashes that were kept elsewhere.
    pub(crate) completeness: Axis,
    /// What entries follow from.
    pub(crate) lineage: Axis,
}

impl Verdicts {
    fn all(&self) -> [(&'static str, &Axis); 4] {
        [
            ("signatures", &self.signatures),
            ("running hash", &self.running_hash),
            ("completeness", &self.completeness),
            ("lineage", &self.lineage),
        ]
    }
}

impl Report<'_> {
    pub(crate) fn answer(self) -> Answer {
        let axes = Verdicts {
            signatures: self.signatures(),
            running_hash: self.running_hash(),
            completeness: self.completeness(),
            lineage: axis(
                Verdict::NotChecked,
                "each entry was checked by itself; `kest audit export` and `kest verify` check what it follows from",
            ),
        };
        // What was asked for and cannot be answered is not accepted.
        let unanswered = !self.options.expect_tip.is_empty() && axes.completeness.verdict != Verdict::Pass;
        let emptied = self.found.seen.entries == 0 && !self.options.allow_empty;
        let refused =
            emptied || unanswered || axes.all().iter().any(|(_, axis)| axis.verdict == Verdict::Fail);
        let summary = self.summary(&axes, refused);
        let Found { seen, denials, findings, failures, .. } = self.found;
        Answer {
            store: self.name,
            accepted: !refused,
            summary,
            segment: self.segment,
            entries: seen.entries,
            denials,
            keys: if self.options.stored_keys { "of the store itself" } else { "trusted" },
            disowned: self.disowned,
            retired: self.retired,
            tip: self.tip.filter(|_| seen.entries > 0),
            axes,
            more_findings: seen.findings - findings.len() as u64,
            findings,
            more_failures: seen.wrong - failures.len() as u64,
            failures,
        }
    }

    fn signatures(&self) -> Axis {
        let (wrong, all) = (self.found.seen.wrong, self.found.seen.entries);
        match (wrong, all) {
            (0, 0) => axis(Verdict::NotChecked, "the store has no entry"),
            (0, _) if self.options.stored_keys => axis(
                Verdict::Pass,
                "every entry is signed by a key that the store itself has for its workload: whoever wrote the store \
                 may have made up both; --anchors or --bundle prove more",
            ),
            (0, _) => axis(Verdict::Pass, "every entry is signed by a trusted key of its workload"),
            _ => axis(Verdict::Fail, format!("{} of {} entries fail", grouped(wrong), grouped(all))),
        }
    }

    fn running_hash(&self) -> Axis {
        if let Some(why) = &self.found.unread {
            return axis(Verdict::Fail, format!("the store cannot be read to its end: {why}"));
        }
        match self.found.damage {
            0 if self.found.seen.entries == 0 => axis(Verdict::NotChecked, "the store has no entry"),
            0 if self.alone => axis(
                Verdict::Pass,
                format!(
                    "within {} nothing was edited, deleted or moved, unless by somebody who did all the sums anew",
                    self.part()
                ),
            ),
            0 => axis(
                Verdict::Pass,
                "nothing was edited, deleted or moved, unless by somebody who did all the sums anew",
            ),
            1 => axis(Verdict::Fail, "1 place is not as its writer left it"),
            many => {
                axis(Verdict::Fail, format!("{} places are not as their writer left them", grouped(many)))
            }
        }
    }

    /// What was read, where that is not the whole store.
    fn part(&self) -> String {
        self.segment.map_or_else(|| "one segment".to_owned(), |number| format!("segment {number}"))
    }

    fn completeness(&self) -> Axis {
        if self.options.expect_tip.is_empty() && self.alone {
            return axis(
                Verdict::NotChecked,
                format!(
                    "only {} was read: what stands before and after it was not looked at, and its end may have been \
                     cut off",
                    self.part()
                ),
            );
        }
        if self.options.expect_tip.is_empty() {
            return axis(
                Verdict::NotChecked,
                "no running hash was kept elsewhere (--expect-tip), so the end may have been cut off",
            );
        }
        if self.found.missed_tip && self.alone {
            return axis(
                Verdict::Fail,
                format!(
                    "a running hash that was kept elsewhere is not in {}, and only that was read",
                    self.part()
                ),
            );
        }
        if self.found.missed_tip {
            return axis(Verdict::Fail, "a running hash that was kept elsewhere is not in the store");
        }
        if self.found.disowned_tip {
            return axis(
                Verdict::Fail,
                "a running hash that was kept elsewhere stands only in lines that the next segment disowns",
            );
        }
        if self.found.unread.is_some() {
            return axis(Verdict::NotChecked, "not all of the store was read");
        }
        if self.found.gone_tip {
            return axis(
                Verdict::NotChecked,
                "nothing is left of what a running hash that was kept elsewhere vouches for; expect a later one",
            );
        }
        if self.found.damage > 0 {
            return axis(
                Verdict::NotChecked,
                "the running hash that was kept elsewhere is in it, and the store is damaged",
            );
        }
        if self.alone {
            return axis(
                Verdict::NotChecked,
                format!(
                    "the running hash that was kept elsewhere is in {part}, and only that was read: what stands before \
                     and after it was not looked at; name the store for that, or leave --expect-tip out",
                    part = self.part()
                ),
            );
        }
        let complete = "the store has all that it had when the expected running hash was kept";
        let Some(taken) = &self.taken else {
            let retired = self.retired.as_ref();
            let but =
                retired.map(|what| format!(", but for what retention says that it took before: {what}"));
            return axis(Verdict::Pass, format!("{complete}{}", but.unwrap_or_default()));
        };
        let what = &taken.what;
        let received = match taken.before_ms {
            Some(before) => format!("received before {}", utc(before)),
            None => "received at unknown times".to_owned(),
        };
        match (self.options.retained_since, taken.before_ms) {
            (Some(since), Some(before)) if before <= since => axis(
                Verdict::Pass,
                format!(
                    "{complete}, but for what retention says that it has taken since: {what}, {received}"
                ),
            ),
            (Some(since), _) => axis(
                Verdict::NotChecked,
                format!(
                    "retention says that it has taken {what}, {received}, and all is to be there since {}",
                    utc(since)
                ),
            ),
            (None, _) => axis(
                Verdict::NotChecked,
                format!(
                    "the expected running hash vouches for what retention says that it has taken since: {what}, \
                     {received}; that retention took it, only the store says, and --retained-since says what may be \
                     gone"
                ),
            ),
        }
    }

    fn summary(&self, axes: &Verdicts, refused: bool) -> String {
        let Found { seen, denials, .. } = &self.found;
        let empty = "the store is empty: no entry, so nothing was checked and nothing is attested";
        if seen.entries == 0 && axes.all().iter().all(|(_, axis)| axis.verdict != Verdict::Fail) {
            return match refused {
                false => empty.to_owned(),
                true => format!("refused: {empty}; if it is meant to have none, say --allow-empty"),
            };
        }
        let entries = match seen.entries {
            1 => "1 entry".to_owned(),
            many => format!("{} entries", grouped(many)),
        };
        let of = if self.alone { format!(" of {} alone", self.part()) } else { String::new() };
        let denials = match denials {
            0 => String::new(),
            1 => " (1 receipt of a denial)".to_owned(),
            many => format!(" ({} receipts of denials)", grouped(*many)),
        };
        let with = |verdict: Verdict| {
            let named = axes.all().into_iter().filter(|(_, axis)| axis.verdict == verdict);
            named.map(|(name, _)| format!("{name} {verdict}")).collect::<Vec<_>>().join(", ")
        };
        let parts: Vec<String> = [Verdict::Fail, Verdict::Pass, Verdict::NotChecked]
            .into_iter()
            .map(with)
            .filter(|part| !part.is_empty())
            .collect();
        let verdict = if refused { "refused: " } else { "" };
        let keys = if self.options.stored_keys { "; keys of the store itself" } else { "" };
        format!("{verdict}{entries}{of}{denials}: {}{keys}", parts.join("; "))
    }
}

fn axis(verdict: Verdict, reason: impl Into<String>) -> Axis {
    Axis { verdict, reason: reason.into().into() }
}

/// Places of one cause that are named.
const PLACES: usize = 4;
/// Causes that are told one by one.
const CAUSES: usize = 40;

pub(crate) fn human(out: Out, answer: &Answer) -> String {
    let mut page = String::new();
    for (name, axis) in answer.axes.all() {
        let ink = match axis.verdict {
            Verdict::Pass => Ink::Good,
            Verdict::Fail => Ink::Bad,
            Verdict::NotChecked => Ink::Unsure,
        };
        let verdict = out.ink(ink, &format!("{:<11}", axis.verdict.to_string()));
        page.push_str(&format!("{name:<13} {verdict}  {}\n", text::message(&axis.reason)));
    }
    let damage = |finding: bool| if finding { ("damage", Ink::Bad) } else { ("finding", Ink::Unsure) };
    let findings =
        answer.findings.iter().map(|finding| (damage(finding.damage), &finding.place, &finding.text));
    let failures =
        answer.failures.iter().map(|failure| (("failed", Ink::Bad), &failure.place, &failure.cause));
    for (told, ((label, ink), places, cause)) in by_cause(findings.chain(failures)).into_iter().enumerate() {
        if told == CAUSES {
            page.push_str("              and more: see --json\n");
            break;
        }
        let label = out.ink(ink, &format!("{label:<13}"));
        page.push_str(&format!("{label} {}: {}\n", named(&places), text::message(cause)));
    }
    for (what, more) in [("findings", answer.more_findings), ("entries that fail", answer.more_failures)] {
        if more > 0 {
            page.push_str(&format!("              and {} more {what}\n", grouped(more)));
        }
    }
    if let Some(retired) = &answer.retired {
        page.push_str(&format!(
            "{:<13} {} (by retention, as the store says)\n",
            "gone",
            text::message(retired)
        ));
    }
    if let Some(tip) = &answer.tip {
        page.push_str(&format!("{:<13} {tip}", "tip"));
        if let Some(lines) = &answer.disowned {
            let lines = text::message(lines);
            page.push_str(&format!(" (not of {lines}, which the next segment disowns)"));
        }
        page.push('\n');
    }
    let ink = if answer.accepted { Ink::Strong } else { Ink::Bad };
    page.push_str(&out.ink(ink, &text::message(&answer.summary)));
    page.push('\n');
    page
}

type Label = (&'static str, Ink);

/// Equal causes in one line, in the order of the first of each.
fn by_cause<'a>(
    all: impl Iterator<Item = (Label, &'a String, &'a String)>,
) -> Vec<(Label, Vec<&'a str>, &'a str)> {
    let mut at: HashMap<(&str, &str), usize> = HashMap::new();
    let mut groups: Vec<(Label, Vec<&str>, &str)> = Vec::new();
    for (label, place, cause) in all {
        let index = *at.entry((label.0, cause)).or_insert_with(|| {
            groups.push((label, Vec::new(), cause));
            groups.len() - 1
        });
        if let Some((_, places, _)) = groups.get_mut(index) {
            places.push(place);
        }
    }
    groups
}

fn named(places: &[&str]) -> String {
    let shown: Vec<String> = places.iter().take(PLACES).map(|place| text::message(place)).collect();
    let more = places.len().saturating_sub(PLACES);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}
