//! Verifying a passport for the commands, and what to say about the outcome.

use std::path::Path;

use kest_core::text::Quoted;
use kest_core::verify::{
    Axis, ChainError, Effective, Finding, Report, Step, UnverifiedPassport, Verdict, Verifier,
    VerifierBuilder, VerifyError, VerifyFailure,
};
use serde::Serialize;

use crate::entry::{Oidc, Shown};
use crate::input::{self, Trusted, Unusable};

/// What a passport is verified against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) trusted: &'a Trusted,
    pub(crate) config: Option<&'a Path>,
    pub(crate) tip: Option<&'a str>,
    pub(crate) linear: bool,
    pub(crate) strict: bool,
}

/// What was found out. The names of the members are a promise: `docs/cli.md`.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    pub(crate) accepted: bool,
    pub(crate) summary: String,
    pub(crate) entries: usize,
    pub(crate) tips: Option<Vec<String>>,
    pub(crate) axes: Axes,
    pub(crate) findings: Vec<Finding>,
    /// Findings beyond those.
    pub(crate) more_findings: usize,
    pub(crate) failure: Option<Failure>,
    /// What each entry counts for, where the passport verified.
    #[serde(skip)]
    pub(crate) effective: Option<Vec<Effective>>,
}

impl Answer {
    /// What a verifier that trusts these says of a passport. `None` where nobody is trusted.
    ///
    /// # Errors
    /// When keys or the configuration cannot be read.
    pub(crate) fn to(
        passport: UnverifiedPassport,
        trusted: &Trusted,
        config: Option<&Path>,
    ) -> Result<Option<Self>, Unusable> {
        if trusted.is_empty() {
            return Ok(None);
        }
        Question { trusted, config, tip: None, linear: false, strict: false }.ask(passport).map(Some)
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Axes {
    pub(crate) signatures: Axis,
    pub(crate) links: Axis,
    pub(crate) identity: Axis,
    pub(crate) semantics: Axis,
    pub(crate) completeness: Axis,
    pub(crate) time: Axis,
}

/// Where the verification failed, why, and what to do.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    pub(crate) entry: Option<usize>,
    pub(crate) operation: Option<String>,
    pub(crate) principal: Option<String>,
    pub(crate) oidc: Option<Oidc>,
    pub(crate) step: &'static str,
    pub(crate) cause: String,
    pub(crate) fix: String,
}

impl Question<'_> {
    /// Verifies a passport.
    ///
    /// # Errors
    /// When anchors, bundles, configuration or options cannot be used. A bad verdict is an answer.
    pub(crate) fn ask(&self, passport: UnverifiedPassport) -> Result<Answer, Unusable> {
        let verifier = self.verifier()?;
        let texts: Vec<String> = passport.entries().map(str::to_owned).collect();
        Ok(match passport.verify(&verifier) {
            Ok(verified) => {
                let tips = verified.tips().iter().map(|tip| tip.hash()).collect();
                let mut answer = self.answer(verified.report(), Some(tips), None);
                answer.effective = Some(verified.effective().to_vec());
                answer
            }
            Err(error) => {
                let shown = error.entry().and_then(|index| Some(Shown::read(index, texts.get(index)?)));
                let failure = self.failure(&error, shown);
                self.answer(error.report(), None, Some(failure))
            }
        })
    }

    fn verifier(&self) -> Result<Verifier, Unusable> {
        let mut builder = self.trusted.keys()?.into_iter().fold(Verifier::builder(), VerifierBuilder::keys);
        if let Some(config) = input::config(self.config)? {
            builder = builder.config(&config).map_err(|error| Unusable(error.to_string()))?;
        }
        if let Some(tip) = self.tip {
            builder = builder.expected_tip(tip).map_err(|error| Unusable(format!("--tip: {error}")))?;
        }
        if self.linear {
            builder = builder.linear();
        }
        if self.strict {
            builder = builder.strict();
        }
        Ok(builder.build())
    }

    fn answer(&self, report: &Report, tips: Option<Vec<String>>, failure: Option<Failure>) -> Answer {
        Answer {
            accepted: failure.is_none(),
            summary: self.summary(report, failure.as_ref()),
            entries: report.entries,
            tips,
            axes: Axes {
                signatures: report.signatures.clone(),
                links: report.links.clone(),
                identity: report.identity.clone(),
                semantics: report.semantics.clone(),
                completeness: report.completeness.clone(),
                time: report.time.clone(),
            },
            findings: report.findings.clone(),
            more_findings: report.more_findings,
            failure,
            effective: None,
        }
    }

    /// One line in which every axis is named: "valid" alone would say too much. Spec §13.
    fn summary(&self, report: &Report, failure: Option<&Failure>) -> String {
        let count = match report.entries {
            0 if failure.is_none() => {
                return "the passport is empty: no entry, so nothing was checked and nothing is attested"
                    .to_owned();
            }
            0 => "the passport is empty".to_owned(),
            1 => "1 entry".to_owned(),
            n => format!("{n} entries"),
        };
        let with = |verdict: Verdict| {
            let axes = report.axes().into_iter().filter(move |(_, axis)| axis.verdict == verdict);
            axes.map(|(name, _)| match (verdict, name) {
                (Verdict::NotChecked, "completeness") if self.tip.is_none() => {
                    "completeness not checked (no --tip)".to_owned()
                }
                (verdict, name) => format!("{name} {verdict}"),
            })
            .collect::<Vec<_>>()
            .join(", ")
        };
        let parts: Vec<String> = [Verdict::Fail, Verdict::Pass, Verdict::NotChecked]
            .into_iter()
            .map(with)
            .filter(|part| !part.is_empty())
            .collect();
        let findings = match report.findings.len() + report.more_findings {
            0 => String::new(),
            1 => "; 1 finding".to_owned(),
            n => format!("; {n} findings"),
        };
        let verdict = if failure.is_some() { "refused: " } else { "" };
        format!("{verdict}{count}: {}{findings}", parts.join("; "))
    }

    fn failure(&self, error: &VerifyError, shown: Option<Shown>) -> Failure {
        let foreign =
            shown.as_ref().is_some_and(|shown| shown.runtime.as_deref() != Some(kest_core::RUNTIME_NAME));
        let Shown { operation, principal, oidc, .. } = shown.unwrap_or_default();
        Failure {
            entry: error.entry(),
            step: error.step().as_str(),
            cause: error.failure().to_string(),
            fix: self.fix(error, foreign),
            operation,
            principal,
            oidc,
        }
    }

    fn fix(&self, error: &VerifyError, foreign: bool) -> String {
        let fix = match error.failure() {
            VerifyFailure::UnknownPrincipal { principal } => {
                return format!(
                    "get the public keys of {} from whoever runs it, and add them to the anchors",
                    Quoted(principal)
                );
            }
            VerifyFailure::UnknownTrustDomain { trust_domain, .. } => {
                return format!(
                    "get the trust bundle of {} from whoever runs it, and give it with --bundle",
                    Quoted(trust_domain)
                );
            }
            VerifyFailure::Chain { source, .. } => chain_fix(source),
            VerifyFailure::MockNotAccepted | VerifyFailure::Algorithm { .. } => {
                "have the workload sign with a real identity; this command takes no mock entries"
            }
            VerifyFailure::UnknownKey { .. } | VerifyFailure::CertificateKey => {
                "if the workload has a new key, add it to the anchors; else somebody else signed in its name"
            }
            VerifyFailure::AlgorithmMismatch { .. } => {
                "compare the `alg` of the anchored key with what the workload signs with"
            }
            VerifyFailure::UnsupportedAlgorithm { .. } => {
                "verify with a build of kest that knows this algorithm"
            }
            VerifyFailure::Signature => {
                "trust nothing in this passport: the entry was changed after it was signed, or another key signed it"
            }
            VerifyFailure::UnknownParent { .. } => "ask the sender for the whole passport, in its own order",
            VerifyFailure::DuplicateEntry { .. } => "ask the sender for the passport without the repetition",
            VerifyFailure::Tip { .. } => {
                "get the latest passport if it was cut short; else --tip is the hash of another passport's last entry"
            }
            VerifyFailure::NotLinear => {
                "the lineage forks here, or begins again; leave --linear out if it may"
            }
            VerifyFailure::EffectiveTaints { .. } => {
                "have the workloads looked at that drop taints or remove them without authority"
            }
            VerifyFailure::TooManySteps { .. } => "verify the passport in parts",
            VerifyFailure::OverrideAuthority
            | VerifyFailure::RootAuthority { .. }
            | VerifyFailure::RemovalAuthority { .. }
            | VerifyFailure::Ceiling { .. } => {
                "if the principal may do this, say so under `[verification.authority]` in the file given with --config"
            }
            _ => match error.step() {
                Step::Semantics if foreign && self.strict => {
                    "have the workload corrected; without --strict this is a finding, as another implementation signed it"
                }
                Step::Parse | Step::Schema => {
                    "ask the sender for the original; the entry was damaged or is no Kest entry"
                }
                _ => "have the workload that signed the entry looked at",
            },
        };
        fix.to_owned()
    }
}

fn chain_fix(cause: &ChainError) -> &'static str {
    match cause {
        ChainError::Expired { .. } | ChainError::NotYetValid { .. } => {
            "an entry outside the validity of its own certificate was backdated, or a clock is wrong; have the \
             workload looked at"
        }
        ChainError::UnknownAuthority { .. } => {
            "if the trust domain has a new authority, or had one that is gone from the bundle, add its certificate; \
             else somebody else signed in its name"
        }
        ChainError::Missing => {
            "anchor the key of the workload with --anchors, or have it sign with an X.509-SVID"
        }
        ChainError::NotBuilt => "verify with a build of kest that has the feature `aws-lc`",
        _ => "have the trust domain's certificate authority looked at; this is no SVID of the workload",
    }
}
