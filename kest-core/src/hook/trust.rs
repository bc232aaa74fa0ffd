//! The score of a call. Spec §8.

use std::sync::Arc;

use crate::error::{ConfigurationError, ConfigurationErrorKind, Error};
use crate::lineage::scope::ScopeEnv;
use crate::passport::Node;
use crate::runtime::Kest;
use crate::trust::{TrustEvaluator, TrustModel};

/// A score and where it comes from.
#[derive(Debug)]
pub(super) struct Trust {
    pub(super) score: u8,
    /// Recorded: the source of a root always, of a child only when it names one.
    pub(super) source: Option<Arc<str>>,
    /// Lowest score of the parents.
    pub(super) inherited: Option<u8>,
    /// Whether a root named no source, so that its score is the default's.
    pub(super) defaulted: bool,
}

/// What the score depends on.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) source: Option<&'a str>,
    pub(super) trust_override: Option<u8>,
    pub(super) parents: &'a [Arc<Node>],
    pub(super) env: &'a ScopeEnv,
    pub(super) model: &'a TrustModel,
    pub(super) evaluator: &'a dyn TrustEvaluator,
    pub(super) kest: Option<&'a Kest>,
    /// Whether the call runs in a scope that somebody opened.
    pub(super) scoped: bool,
    pub(super) operation: &'a str,
}

impl Question<'_> {
    pub(super) fn answer(self) -> Result<Trust, Error> {
        let mut trust = if self.parents.is_empty() { self.root()? } else { self.child()? };
        if let Some(score) = self.trust_override {
            trust.score = score;
        }
        Ok(trust)
    }

    fn root(&self) -> Result<Trust, Error> {
        let ingress = self.env.ingress;
        let (source, defaulted) = match (self.source, &self.env.root_source) {
            (Some(source), _) => (Arc::from(source), false),
            (None, Some(source)) => (Arc::clone(source), false),
            // INVARIANT: a lost scope never gains trust, so the deployment's default needs a scope as well.
            (None, None) if ingress || !self.scoped => (Arc::from("unauthenticated"), true),
            (None, None) => match self.kest.and_then(|kest| kest.config().trust.root_source.as_deref()) {
                Some(source) => (Arc::from(source), false),
                None => (Arc::from("unauthenticated"), true),
            },
        };
        let score = self.model.require(&source)?;
        if ingress && matches!(&*source, "system" | "internal") {
            return Err(ConfigurationError::new(
                ConfigurationErrorKind::RootSource,
                format!(
                    "`{}` starts a lineage as `{source}` while it serves a request from outside; \
                     verify the caller's lineage first, or name the request's real source",
                    self.operation
                ),
            )
            .into());
        }
        if defaulted && !ingress {
            tracing::warn!(
                target: "kest",
                operation = self.operation,
                trust_score = score,
                "a call outside any lineage names no source and counts as `unauthenticated`: \
                 give `source_type = \"…\"`, open its scope with `.source(\"…\")`, or, \
                 in a spawned task, use `kest::spawn` or `.in_lineage()`"
            );
        }
        Ok(Trust { score, source: Some(source), inherited: None, defaulted })
    }

    fn child(&self) -> Result<Trust, Error> {
        let self_score = match self.source {
            Some(source) => self.model.require(source)?,
            // A child that names no source does not degrade.
            None => 100,
        };
        let scores: smallvec::SmallVec<[u8; 8]> = self.parents.iter().map(|p| p.trust()).collect();
        let lowest = scores.iter().copied().min().unwrap_or(0);
        // INVARIANT: without an override no evaluator exceeds the lowest parent.
        let score = self.evaluator.calculate(self_score, &scores).min(lowest).min(100);
        Ok(Trust { score, source: self.source.map(Arc::from), inherited: Some(lowest), defaulted: false })
    }
}
