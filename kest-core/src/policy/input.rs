//! What a policy is asked: borrowed from the call it is about. Spec §11.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use smallvec::SmallVec;

use super::Tier;

/// The input of every policy, spec §11. Serialises to the documented JSON object.
#[derive(Debug, Clone, Serialize)]
pub struct PolicyInput<'a> {
    /// Who acts, on whose behalf.
    pub subject: Subject<'a>,
    /// On what.
    pub object: Object<'a>,
    /// Under which circumstances.
    pub environment: Environment<'a>,
    /// The workload id again, for policies written against the flat form.
    pub identity: &'a str,
    /// The trust score again, for policies written against the flat form.
    pub trust_score: u8,
    #[serde(skip)]
    pub(crate) memo: Kept<'a>,
}

impl PolicyInput<'_> {
    /// What `make` gives, made once for all policies of a call and tier: an engine's own form of the input.
    ///
    /// INVARIANT: what is kept follows from the input alone, never from the policy or the engine that asks first, for
    /// the next one of the same type `T` gets it too.
    pub fn shared<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        match self.memo.0 {
            Some(memo) => memo.get_or_make(make),
            None => Arc::new(make()),
        }
    }
}

/// Where an input's [`Memo`] is, if it has one. A copy of an input has none: whoever makes one may change it.
#[derive(Debug, Default)]
pub(crate) struct Kept<'a>(pub(crate) Option<&'a Memo>);

impl Clone for Kept<'_> {
    fn clone(&self) -> Self {
        Self(None)
    }
}

/// What engines made of one input, one value for each type.
#[derive(Default)]
pub(crate) struct Memo(Mutex<SmallVec<[Arc<dyn Any + Send + Sync>; 1]>>);

impl Memo {
    fn get_or_make<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let known = || self.0.lock().iter().find_map(|kept| Arc::clone(kept).downcast::<T>().ok());
        if let Some(known) = known() {
            return known;
        }
        // Not under the lock: whatever `make` does, it may ask again. Two that make the same waste one.
        let made = Arc::new(make());
        self.0.lock().push(Arc::clone(&made) as Arc<dyn Any + Send + Sync>);
        made
    }
}

impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memo")
    }
}

/// `subject` of [`PolicyInput`].
#[derive(Debug, Clone, Serialize)]
pub struct Subject<'a> {
    /// The workload id.
    pub workload: &'a str,
    /// A string, an object, or null.
    pub user: Option<&'a Value>,
    /// A string, an object, or null.
    pub agent: Option<&'a Value>,
    /// A string, an object, or null.
    pub task: Option<&'a Value>,
    /// Score of this call, 0–100.
    pub trust_score: u8,
    /// Taints of this call, sorted.
    pub taints: &'a [Arc<str>],
}

/// `object` of [`PolicyInput`].
#[derive(Debug, Clone, Serialize)]
pub struct Object<'a> {
    /// `resource_id`, or null.
    pub id: Option<&'a str>,
    /// `resource_attr`; an empty object when none was given.
    pub attributes: &'a Value,
}

/// `environment` of [`PolicyInput`].
#[derive(Debug, Clone, Serialize)]
pub struct Environment<'a> {
    /// Whether the call has no parents.
    pub is_root: bool,
    /// The source in force; null for a child without one.
    pub source_type: Option<&'a str>,
    /// Name of the operation.
    pub operation: &'a str,
    /// `module_path!()::fn`.
    pub function: &'a str,
    /// Hash of the newest parent, `"0"` for a root.
    pub parent_hash: &'a str,
    /// Hashes of all parents, newest first, `["0"]` for a root.
    pub parent_hashes: &'a [String],
    /// Lowest score of the parents; null for a root.
    pub inherited_trust_score: Option<u8>,
    /// Taints of the parents, sorted.
    pub inherited_taints: &'a [Arc<str>],
    /// The override, or null.
    pub trust_override: Option<u8>,
    /// Taints this call removes, sorted.
    pub removed_taints: &'a [Arc<str>],
    /// Names of the tier that is being evaluated.
    pub policy_names: &'a [String],
    /// The tier that is being evaluated.
    pub policy_tier: Tier,
    /// Names of the policies that a deviation lifts from this call.
    pub active_deviations: &'a [String],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::InputDocument;

    #[test]
    fn what_an_engine_makes_of_an_input_is_made_once_and_not_for_a_copy() {
        let memo = Memo::default();
        let document = InputDocument::default();
        let input = PolicyInput { memo: Kept(Some(&memo)), ..document.as_input() };
        let first = input.shared(|| vec![1]);
        assert!(Arc::ptr_eq(&first, &input.shared(|| vec![2])));
        assert_eq!(*input.shared(|| "another type"), "another type");
        let mut copy = input.clone();
        copy.trust_score = 100;
        assert_eq!(*copy.shared(|| vec![3]), [3]);
    }
}
