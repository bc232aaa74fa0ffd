//! What a verification found, axis by axis.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

use super::jose::Parsed;
use super::signature::{Principals, Resolved, Trusted};
use super::verifier::Verifier;
use crate::text::{Quoted, message};

/// More than anybody reads: findings are worth a line each, and a passport can hold millions.
const FINDINGS: usize = 1_000;

/// One axis of a [`Report`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Axis {
    /// The verdict.
    pub verdict: Verdict,
    /// Why, in words.
    pub reason: Cow<'static, str>,
}

/// Verdict on one axis. What was not checked is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Verdict {
    /// Checked, and good.
    #[serde(rename = "pass")]
    Pass,
    /// Checked, and bad.
    #[serde(rename = "fail")]
    Fail,
    /// Not checked: nothing is known.
    #[serde(rename = "not checked")]
    NotChecked,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::NotChecked => "not checked",
        })
    }
}

impl Axis {
    pub(super) fn pass(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Verdict::Pass, reason.into())
    }

    pub(super) fn fail(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Verdict::Fail, reason.into())
    }

    pub(super) fn not_checked(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Verdict::NotChecked, reason.into())
    }

    fn new(verdict: Verdict, reason: Cow<'static, str>) -> Self {
        let reason = match reason {
            // Our own words; foreign ones are in what was put together.
            Cow::Borrowed(_) => reason,
            Cow::Owned(text) => Cow::Owned(message(&text)),
        };
        Self { verdict, reason }
    }
}

/// Something worth knowing that is no failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Index of the entry, unless it is about the passport as a whole.
    pub entry: Option<usize>,
    /// What it is.
    pub text: String,
}

/// What a verification found. It never says just "valid": each axis speaks for itself. Spec §13.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Number of entries.
    pub entries: usize,
    /// Every entry is signed by a key of its principal.
    pub signatures: Axis,
    /// Every parent is there, and nothing comes twice.
    pub links: Axis,
    /// Every principal is anchored.
    pub identity: Axis,
    /// Trust and taints follow from those of the parents, within everybody's authority.
    pub semantics: Axis,
    /// Nothing is missing at the end.
    pub completeness: Axis,
    /// The entries are from when they say.
    pub time: Axis,
    /// What else was seen: at most 1,000 findings, in the order of the steps.
    pub findings: Vec<Finding>,
    /// Findings beyond those.
    pub more_findings: usize,
}

impl Report {
    pub(super) fn new(entries: usize) -> Self {
        let later = || Axis::not_checked(if entries == 0 { "the passport is empty" } else { "not reached" });
        Self {
            entries,
            signatures: later(),
            links: later(),
            identity: later(),
            semantics: later(),
            completeness: later(),
            time: later(),
            findings: Vec::new(),
            more_findings: 0,
        }
    }

    pub(super) fn find(&mut self, entry: Option<usize>, text: impl fmt::Display) {
        self.find_within(FINDINGS, entry, text);
    }

    /// A departure from the form. Those leave room for the findings that come after them and weigh more.
    pub(super) fn depart(&mut self, entry: usize, text: impl fmt::Display) {
        self.find_within(FINDINGS / 2, Some(entry), text);
    }

    fn find_within(&mut self, most: usize, entry: Option<usize>, text: impl fmt::Display) {
        if self.findings.len() < most {
            self.findings.push(Finding { entry, text: message(&text.to_string()) });
        } else {
            self.more_findings += 1;
        }
    }

    /// The axes with their names, in a fixed order.
    #[must_use]
    pub fn axes(&self) -> [(&'static str, &Axis); 6] {
        [
            ("signatures", &self.signatures),
            ("links", &self.links),
            ("identity", &self.identity),
            ("semantics", &self.semantics),
            ("completeness", &self.completeness),
            ("time", &self.time),
        ]
    }
}

/// What the keys of the principals say about the axis identity.
pub(super) fn identity(
    entries: &[Parsed],
    principals: &Principals<'_>,
    resolved: &Resolved,
    verifier: &Verifier,
    report: &mut Report,
) {
    let trusted = &resolved.trusted;
    let pinned = |(_, (parsed, number)): &(usize, (&Parsed, &usize))| {
        parsed.header.leaf().is_some() && !matches!(trusted.get(**number), Some(Trusted::Authorities(_)))
    };
    let chained = entries.iter().zip(&principals.of).enumerate().filter(pinned);
    if let Some((first, _)) = chained.clone().next() {
        let text = "the certificate chain in `x5c` was not validated: only the key of its leaf was compared";
        report.find(Some(first), format!("{text} (entries: {})", chained.count()));
    }
    if let Some((first, count)) = resolved.predated {
        report.find(Some(first), format!("dated before its certificate was valid (entries: {count})"));
    }
    if resolved.trust_domains().len() > 1 && !verifier.authority.is_configured() {
        let text = "every trust domain in the bundles counts as own: say who is federated in";
        report.find(None, format!("{text} [verification.authority]"));
    }
    let mock = trusted.iter().filter(|trusted| matches!(trusted, Trusted::Mock)).count();
    report.identity = match (mock, trusted.len(), resolved.certified()) {
        (0, 0, _) => return,
        (0, 1, 0) => Axis::pass("its one principal is anchored"),
        (0, 1, _) => Axis::pass(format!("its one principal is anchored, by {}", certificates_of(resolved))),
        (0, all, 0) => Axis::pass(format!("all {all} principals are anchored")),
        (0, all, some) => {
            let by = certificates_of(resolved);
            Axis::pass(format!("all {all} principals are anchored, {some} by {by}"))
        }
        (mock, all, _) => Axis::not_checked(format!(
            "{mock} of {all} principals sign with the mock key, which everybody knows"
        )),
    };
}

fn certificates_of(resolved: &Resolved) -> String {
    const NAMED: usize = 4;
    let domains = resolved.trust_domains();
    let named: Vec<String> = domains.iter().take(NAMED).map(|name| Quoted(name).to_string()).collect();
    let rest = match domains.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more trust domains"),
    };
    format!("certificates of {}{rest}", named.join(", "))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entries {
            0 => writeln!(f, "an empty passport: nothing is attested")?,
            1 => writeln!(f, "1 entry")?,
            n => writeln!(f, "{n} entries")?,
        }
        for (name, axis) in self.axes() {
            writeln!(f, "{name:<13} {:<12} {}", axis.verdict.to_string(), axis.reason)?;
        }
        for finding in &self.findings {
            match finding.entry {
                Some(entry) => writeln!(f, "finding       entry {entry}: {}", finding.text)?,
                None => writeln!(f, "finding       {}", finding.text)?,
            }
        }
        if self.more_findings > 0 {
            writeln!(f, "finding       and {} more", self.more_findings)?;
        }
        Ok(())
    }
}
