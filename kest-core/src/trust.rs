//! Trust scores: what a source is worth, and how a score travels down a lineage. Spec §8.

use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::error::{ConfigurationError, ConfigurationErrorKind};

/// Gives a call its score from its own and those of its immediate parents.
///
/// Without an override no result may exceed the lowest parent: the hook bounds what an evaluator returns.
pub trait TrustEvaluator: fmt::Debug + Send + Sync {
    /// The score of a child, 0–100. `parent_scores` is never empty.
    fn calculate(&self, self_score: u8, parent_scores: &[u8]) -> u8;

    /// The name recorded in `metadata.trust.model`, after that of the model.
    fn name(&self) -> &str;
}

impl<T: TrustEvaluator + ?Sized> TrustEvaluator for Arc<T> {
    fn calculate(&self, self_score: u8, parent_scores: &[u8]) -> u8 {
        (**self).calculate(self_score, parent_scores)
    }

    fn name(&self) -> &str {
        (**self).name()
    }
}

/// `min(parents…, self)`: a chain is as trusted as its weakest link. The default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WeakestLink;

impl TrustEvaluator for WeakestLink {
    fn calculate(&self, self_score: u8, parent_scores: &[u8]) -> u8 {
        parent_scores.iter().copied().fold(self_score, u8::min)
    }

    fn name(&self) -> &str {
        "weakest_link"
    }
}

/// `min(parents) * self / 100`, in integers: every link takes its share. The public specification's formula.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Proportional;

impl TrustEvaluator for Proportional {
    fn calculate(&self, self_score: u8, parent_scores: &[u8]) -> u8 {
        let lowest = parent_scores.iter().copied().min().unwrap_or(100);
        // At most 255 * 255 / 100, and at most 100 for scores in range.
        u8::try_from(u32::from(lowest) * u32::from(self_score) / 100).unwrap_or(100)
    }

    fn name(&self) -> &str {
        "proportional"
    }
}

/// An example of an evaluator of one's own: a weighted mean of the lowest parent and the call itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightedTrustEvaluator {
    /// Weight of the lowest parent, in percent; the rest is the call's own.
    pub parent_weight: u8,
}

impl TrustEvaluator for WeightedTrustEvaluator {
    fn calculate(&self, self_score: u8, parent_scores: &[u8]) -> u8 {
        let lowest = u32::from(parent_scores.iter().copied().min().unwrap_or(self_score));
        let weight = u32::from(self.parent_weight.min(100));
        u8::try_from((lowest * weight + u32::from(self_score) * (100 - weight)) / 100).unwrap_or(100)
    }

    fn name(&self) -> &str {
        "weighted"
    }
}

const GUIDE: &[(&str, u8)] = &[
    ("adversarial", 0),
    ("authenticated_user", 50),
    ("internal", 80),
    ("internet", 10),
    ("llm", 0),
    ("partner", 60),
    ("system", 100),
    ("third_party", 30),
    ("third_party_api", 60),
    ("unauthenticated", 10),
    ("user_input", 40),
    ("verified_partner", 70),
    ("verified_rag", 90),
];

const SPEC_V0_3: &[(&str, u8)] = &[
    ("internal", 100),
    ("internet", 10),
    ("llm", 0),
    ("system", 100),
    ("third_party_api", 60),
    ("user_input", 40),
    ("verified_rag", 90),
];

static PROCESS_WIDE: RwLock<BTreeMap<String, u8>> = RwLock::new(BTreeMap::new());

/// Adds a source to every model of the process, for names that are not in `kest.toml`.
///
/// # Errors
/// When the name is empty or built into a model, when it is registered with another score,
/// or when the score is over 100.
pub fn register_origin_trust(source: &str, score: u8) -> Result<(), ConfigurationError> {
    // Held over check and insert, so that two threads cannot both be right.
    let mut known = PROCESS_WIDE.write();
    let mut model = TrustModel { registered: mem::take(&mut *known), ..TrustModel::guide() };
    let registered = model.register(source, score);
    *known = model.registered;
    registered
}

fn is_built_in(map: &[(&str, u8)], source: &str) -> bool {
    map.iter().any(|(name, _)| *name == source)
}

/// A formula and a map of sources. Two ship; more sources can be registered, built-in ones cannot be changed.
#[derive(Debug, Clone)]
pub struct TrustModel {
    name: &'static str,
    evaluator: Arc<dyn TrustEvaluator>,
    built_in: &'static [(&'static str, u8)],
    registered: BTreeMap<String, u8>,
}

impl Default for TrustModel {
    fn default() -> Self {
        Self::guide()
    }
}

impl TrustModel {
    /// The default: weakest link, thirteen sources.
    #[must_use]
    pub fn guide() -> Self {
        Self { name: "guide", evaluator: Arc::new(WeakestLink), built_in: GUIDE, registered: BTreeMap::new() }
    }

    /// The public specification v0.3: proportional, seven sources.
    #[must_use]
    pub fn spec_v0_3() -> Self {
        Self {
            name: "spec_v0_3",
            evaluator: Arc::new(Proportional),
            built_in: SPEC_V0_3,
            registered: BTreeMap::new(),
        }
    }

    /// The model of that name (`guide`, `spec_v0_3`), without registered sources.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "guide" => Some(Self::guide()),
            "spec_v0_3" => Some(Self::spec_v0_3()),
            _ => None,
        }
    }

    /// The name recorded in `metadata.trust.model`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What is recorded for this model with an evaluator of one's own: `model/evaluator`.
    pub(crate) fn name_with(&self, evaluator: &dyn TrustEvaluator) -> Result<Arc<str>, ConfigurationError> {
        match evaluator.name() {
            "" => Err(ConfigurationError::new(
                ConfigurationErrorKind::Attribute,
                "the trust evaluator has an empty name, which no verifier accepts; give it one",
            )),
            name => Ok(Arc::from(format!("{}/{name}", self.name))),
        }
    }

    /// The formula.
    #[must_use]
    pub fn evaluator(&self) -> &Arc<dyn TrustEvaluator> {
        &self.evaluator
    }

    /// Score of a source, if it is known.
    #[must_use]
    pub fn score(&self, source: &str) -> Option<u8> {
        // "unauthenticated" and "authenticated_user" are what scopes say, so every model knows them.
        let scope_source = match source {
            "unauthenticated" => Some(10),
            "authenticated_user" => Some(50),
            _ => None,
        };
        self.built_in
            .iter()
            .find(|(name, _)| *name == source)
            .map(|(_, score)| *score)
            .or(scope_source)
            .or_else(|| self.registered.get(source).copied())
            .or_else(|| PROCESS_WIDE.read().get(source).copied())
    }

    fn is_built_in(&self, source: &str) -> bool {
        is_built_in(self.built_in, source) || matches!(source, "unauthenticated" | "authenticated_user")
    }

    /// All known sources, sorted by name.
    #[must_use]
    pub fn sources(&self) -> Vec<(&str, u8)> {
        let mut all: Vec<(&str, u8)> = self.built_in.to_vec();
        for (name, score) in [("unauthenticated", 10), ("authenticated_user", 50)] {
            if !all.iter().any(|(n, _)| *n == name) {
                all.push((name, score));
            }
        }
        all.extend(self.registered.iter().map(|(name, score)| (name.as_str(), *score)));
        all.sort_unstable();
        all
    }

    /// Adds a source.
    ///
    /// # Errors
    /// When the name is empty or built in, when it is registered with another score,
    /// or when the score is over 100.
    pub fn register(&mut self, source: &str, score: u8) -> Result<(), ConfigurationError> {
        let refuse = |message: String| {
            Err(ConfigurationError::new(ConfigurationErrorKind::SourceRegistration, message))
        };
        if source.is_empty() {
            return refuse("a source type needs a name".to_owned());
        }
        if score > 100 {
            return refuse(format!("trust score `{score}` of source `{source}` is outside 0 to 100"));
        }
        if self.is_built_in(source) {
            return refuse(format!(
                "source `{source}` is built in and cannot be changed; choose another name"
            ));
        }
        // A name that the other model ships may be added, but not be worth more than there.
        if let Some((_, most)) = GUIDE.iter().find(|(name, most)| *name == source && score > *most) {
            return refuse(format!("source `{source}` is worth {most} at most; choose another name"));
        }
        match self.registered.get(source) {
            Some(known) if *known != score => refuse(format!(
                "source `{source}` is registered with {known} already; it cannot become {score}"
            )),
            Some(_) => Ok(()),
            None => {
                self.registered.insert(source.to_owned(), score);
                Ok(())
            }
        }
    }

    /// Score of a source.
    ///
    /// # Errors
    /// When the source is not known: the message lists the nearest name and how to add one.
    pub fn require(&self, source: &str) -> Result<u8, ConfigurationError> {
        self.score(source).ok_or_else(|| {
            let nearest = self
                .sources()
                .into_iter()
                .map(|(name, _)| (strsim::damerau_levenshtein(name, source), name))
                .min()
                .filter(|(distance, _)| *distance <= 3)
                .map_or(String::new(), |(_, name)| format!("; did you mean `{name}`?"));
            ConfigurationError::new(
                ConfigurationErrorKind::UnknownSource,
                format!(
                    "unknown source type `{source}` in trust model `{}`{nearest} \
                     (add it under `[trust.sources]` in kest.toml, or with `register_origin_trust`)",
                    self.name
                ),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_takes_the_weakest_link() {
        let model = TrustModel::guide();
        let child =
            |source, parents: &[u8]| model.evaluator().calculate(model.score(source).unwrap(), parents);
        assert_eq!(model.score("system"), Some(100));
        assert_eq!(child("internal", &[100]), 80);
        assert_eq!(child("user_input", &[80]), 40);
        assert_eq!(child("internal", &[40, 10]), 10);
    }

    #[test]
    fn the_public_specification_multiplies() {
        let model = TrustModel::spec_v0_3();
        assert_eq!(model.evaluator().calculate(60, &[90, 50]), 30);
        assert_eq!(model.evaluator().calculate(100, &[10]), 10);
        assert_eq!(model.evaluator().calculate(33, &[50]), 16);
    }

    #[test]
    fn built_in_sources_cannot_be_changed() {
        let mut model = TrustModel::guide();
        assert!(model.register("llm", 90).is_err());
        assert!(model.register("fax", 101).is_err());
        model.register("fax", 5).unwrap();
        model.register("fax", 5).unwrap();
        assert!(model.register("fax", 6).is_err());
        assert_eq!(model.score("fax"), Some(5));
    }

    #[test]
    fn a_name_of_the_other_model_is_worth_no_more_than_there() {
        let mut model = TrustModel::spec_v0_3();
        assert!(model.register("adversarial", 95).is_err());
        model.register("partner", 60).unwrap();
        assert_eq!(model.score("partner"), Some(60));
    }

    #[test]
    fn of_two_threads_that_register_one_source_only_one_is_right() {
        for round in 0..200 {
            let name = format!("raced{round}");
            let registered = std::thread::scope(|threads| {
                let other = threads.spawn(|| register_origin_trust(&name, 10).is_ok());
                [register_origin_trust(&name, 90).is_ok(), other.join().unwrap()]
            });
            assert_eq!(registered.iter().filter(|ok| **ok).count(), 1);
        }
    }

    #[test]
    fn an_unknown_source_names_the_nearest() {
        let message = TrustModel::guide().require("user_inptu").unwrap_err().to_string();
        assert!(message.contains("did you mean `user_input`?"), "{message}");
    }
}
