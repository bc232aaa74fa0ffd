//! What an entry without an override may be worth. Spec §8, §13.

use crate::entry::Metadata;
use crate::trust::{TrustEvaluator, TrustModel, WeakestLink};
use crate::verify::failure::VerifyFailure;
use crate::verify::verifier::Models;

/// What the model gives an entry without an override.
pub(super) struct Bound {
    pub(super) score: u8,
    pub(super) unchecked: Option<Unchecked>,
}

/// Why the bound may be higher than what the signer's own rules give.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unchecked {
    /// No source is recorded.
    NoSource,
    /// A source that the verifier does not know.
    Source(Box<str>),
    /// An evaluator of the signer's own.
    Evaluator(Box<str>),
}

/// Nothing is known of a foreign entry but that it may not raise trust.
pub(super) fn foreign(parents: &[u8]) -> Bound {
    match parents.iter().min() {
        Some(lowest) => Bound { score: *lowest, unchecked: None },
        None => Bound { score: 100, unchecked: Some(Unchecked::NoSource) },
    }
}

/// # Errors
/// When the recorded model is not known.
pub(super) fn own(models: &Models, metadata: &Metadata, parents: &[u8]) -> Result<Bound, VerifyFailure> {
    let (name, custom) = match metadata.model.split_once('/') {
        Some((name, evaluator)) if !evaluator.is_empty() => (name, true),
        Some(_) => ("", false),
        None => (&*metadata.model, false),
    };
    let (model, other): (&TrustModel, &TrustModel) = match name {
        "guide" => (&models.guide, &models.spec_v0_3),
        "spec_v0_3" => (&models.spec_v0_3, &models.guide),
        _ => return Err(VerifyFailure::UnknownModel { model: metadata.model.to_string() }),
    };
    let source = metadata.source_type.as_deref();
    // A name that is built into the other model alone is no stranger: nobody gains by naming the wrong model.
    let worth = source.map(|source| model.score(source).or_else(|| other.score(source)));
    let unknown = source.filter(|_| worth == Some(None)).map(|source| Unchecked::Source(source.into()));
    Ok(match (parents, worth) {
        // Spec §8: a root without a source is worth what nobody vouches for.
        ([], None) => Bound { score: model.score("unauthenticated").unwrap_or(0), unchecked: None },
        ([], Some(worth)) => Bound { score: worth.unwrap_or(100), unchecked: unknown },
        // Whatever an evaluator of one's own gives, it may not exceed the lowest parent. What Kest signs beside a
        // call is not evaluated at all.
        (parents, _) if custom => Bound {
            score: WeakestLink.calculate(100, parents),
            unchecked: Some(Unchecked::Evaluator(metadata.model.clone())),
        },
        (parents, worth) => Bound {
            score: model.evaluator().calculate(worth.flatten().unwrap_or(100), parents),
            unchecked: unknown,
        },
    })
}
