//! The passport: a set of tips over an immutable, shared DAG of signed entries. Spec §4.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::mem;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::error::LineageError;
use crate::jws::hex;
use crate::taint::TaintSet;
use crate::verify::UnverifiedPassport;

/// Tips of a lineage, oldest first. Nearly always one.
pub(crate) type Tips = SmallVec<[Arc<Node>; 1]>;

/// One signed entry in memory, with its parents.
///
/// INVARIANT: immutable once made; `hash` is the SHA-256 of `jws`, and `parents` are the nodes
/// that the entry names in `parent_ids`, in that order (newest first), empty for a root. In what [`Passport::since`]
/// makes, and nothing goes on from, some are missing.
pub(crate) struct Node {
    jws: Box<str>,
    hash: [u8; 32],
    parents: Tips,
    taints: TaintSet,
    depth: u32,
    trust: u8,
}

impl Node {
    pub(crate) fn new(
        jws: impl Into<Box<str>>,
        hash: [u8; 32],
        parents: Tips,
        trust: u8,
        taints: TaintSet,
    ) -> Arc<Self> {
        let depth = parents.iter().map(|p| p.depth).max().unwrap_or(0).saturating_add(1);
        Arc::new(Self { jws: jws.into(), hash, parents, taints, depth, trust })
    }

    pub(crate) fn jws(&self) -> &str {
        &self.jws
    }

    pub(crate) fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    pub(crate) fn parents(&self) -> &[Arc<Self>] {
        &self.parents
    }

    pub(crate) fn trust(&self) -> u8 {
        self.trust
    }

    pub(crate) fn taints(&self) -> &TaintSet {
        &self.taints
    }

    /// The same entry, counting for no more than `ceiling`.
    pub(crate) fn capped(self: &Arc<Self>, ceiling: u8) -> Arc<Self> {
        if self.trust <= ceiling {
            return Arc::clone(self);
        }
        Arc::new(Self {
            jws: self.jws.clone(),
            hash: self.hash,
            parents: self.parents.clone(),
            taints: Arc::clone(&self.taints),
            depth: self.depth,
            trust: ceiling,
        })
    }

    /// Length of the longest path to a root, this node included.
    pub(crate) fn depth(&self) -> u32 {
        self.depth
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("hash", &hex(&self.hash))
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}

impl Drop for Node {
    // A chain of a million entries must not drop by a million nested calls.
    fn drop(&mut self) {
        let mut orphans: Vec<Arc<Self>> = Vec::new();
        let take = |parents: &mut Tips, orphans: &mut Vec<Arc<Self>>| {
            orphans.extend(mem::take(parents).into_iter().filter(|p| Arc::strong_count(p) == 1));
        };
        take(&mut self.parents, &mut orphans);
        while let Some(orphan) = orphans.pop() {
            // Only the last owner gets the node; a racing clone keeps it and drops it later.
            if let Some(mut node) = Arc::into_inner(orphan) {
                take(&mut node.parents, &mut orphans);
            }
        }
    }
}

/// The entries of one lineage.
///
/// Cloning, appending and forking cost nothing that grows with the length; serialising walks the
/// DAG from the tips, so what goes out is exactly the causal history of the tips.
#[derive(Clone, Default)]
pub struct Passport {
    tips: Tips,
}

impl Passport {
    /// A passport without entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn from_tips(tips: impl IntoIterator<Item = Arc<Node>>) -> Self {
        Self { tips: tips.into_iter().collect() }
    }

    pub(crate) fn tip_nodes(&self) -> &Tips {
        &self.tips
    }

    /// Reads a serialised passport. Nothing in it is believed before [`UnverifiedPassport::verify`].
    ///
    /// # Errors
    /// When it is not a JSON array of strings. Malformed input is never an empty passport.
    pub fn deserialize(text: &str) -> Result<UnverifiedPassport, LineageError> {
        UnverifiedPassport::deserialize(text)
    }

    /// The entries, every parent before its children.
    #[must_use]
    pub fn entries(&self) -> Vec<PassportEntry> {
        walk(&self.tips).into_iter().map(PassportEntry).collect()
    }

    /// The entries that no other entry names as parent, oldest first.
    #[must_use]
    pub fn tips(&self) -> Vec<PassportEntry> {
        self.tips.iter().cloned().map(PassportEntry).collect()
    }

    /// Number of entries. Walks the DAG.
    #[must_use]
    pub fn len(&self) -> usize {
        walk(&self.tips).len()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tips.is_empty()
    }

    /// The entries that came after `earlier`, without it, for somebody who has that. By themselves they do not verify:
    /// their first parents are not there.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let known = earlier.nodes();
        let mut cut: HashMap<[u8; 32], Arc<Node>> = HashMap::new();
        for node in walk(&self.tips) {
            if known.contains_key(&node.hash) {
                continue;
            }
            let parents = node.parents.iter().filter_map(|parent| cut.get(&parent.hash)).cloned().collect();
            let taints = Arc::clone(&node.taints);
            cut.insert(node.hash, Node::new(node.jws.clone(), node.hash, parents, node.trust, taints));
        }
        Self::from_tips(self.tips.iter().filter_map(|tip| cut.get(&tip.hash)).cloned())
    }

    /// Every entry by its hash.
    pub(crate) fn nodes(&self) -> HashMap<[u8; 32], Arc<Node>> {
        walk(&self.tips).into_iter().map(|node| (node.hash, node)).collect()
    }

    /// The JSON array of compact JWS strings, and nothing else.
    #[must_use]
    pub fn serialize(&self) -> String {
        let nodes = walk(&self.tips);
        let mut out = String::with_capacity(2 + nodes.iter().map(|n| n.jws.len() + 3).sum::<usize>());
        out.push('[');
        for (index, node) in nodes.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            // A compact JWS is base64url and dots: nothing in it needs escaping.
            out.push('"');
            out.push_str(&node.jws);
            out.push('"');
        }
        out.push(']');
        out
    }

    /// Unites two passports without duplicates. A tip that the other side's history contains is no tip any more.
    ///
    /// Costs the number of tips, and, where one side is ahead of the other, the entries it is ahead by.
    pub fn merge(&mut self, other: &Self) {
        let mut all: Tips = self.tips.clone();
        for tip in &other.tips {
            if !all.iter().any(|t| t.hash == tip.hash) {
                all.push(Arc::clone(tip));
            }
        }
        self.tips = all
            .iter()
            .filter(|tip| !all.iter().any(|other| other.hash != tip.hash && descends(other, tip)))
            .cloned()
            .collect();
    }
}

impl fmt::Debug for Passport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passport").field("tips", &self.tips).finish()
    }
}

/// One entry of a passport made or verified in this process.
#[derive(Clone, Debug)]
pub struct PassportEntry(Arc<Node>);

impl PassportEntry {
    /// The compact JWS.
    #[must_use]
    pub fn jws(&self) -> &str {
        self.0.jws()
    }

    /// Lower-case hex SHA-256 of the compact JWS: what children name in `parent_ids`.
    #[must_use]
    pub fn hash(&self) -> String {
        hex(self.0.hash())
    }

    /// Hashes of the parents, newest first; empty for a root.
    #[must_use]
    pub fn parent_hashes(&self) -> Vec<String> {
        self.0.parents().iter().map(|p| hex(p.hash())).collect()
    }

    /// Trust score in force, 0–100.
    #[must_use]
    pub fn trust_score(&self) -> u8 {
        self.0.trust()
    }

    /// Taints, sorted.
    #[must_use]
    pub fn taints(&self) -> &[Arc<str>] {
        self.0.taints()
    }
}

/// Keys are SHA-256 hashes already: eight of their bytes are as good as any hash of them.
#[derive(Default)]
struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 ^= u64::from_le_bytes(*first);
        }
    }
}

type HashIndex<'a> = HashSet<&'a [u8; 32], BuildHasherDefault<FirstBytes>>;

/// Post-order walk from the tips without recursion: oldest parents first, so that an entry
/// stands right behind its newest parent wherever the DAG allows it.
fn walk(tips: &[Arc<Node>]) -> Vec<Arc<Node>> {
    let mut order = Vec::new();
    let mut seen = HashIndex::default();
    // A node, and how many of its parents (counted from the oldest) have been entered.
    let mut stack: Vec<(&Arc<Node>, usize)> = Vec::new();
    for tip in tips {
        if seen.insert(&tip.hash) {
            stack.push((tip, 0));
        }
        while let Some((node, entered)) = stack.last_mut() {
            let next = node.parents.iter().rev().nth(*entered);
            *entered += 1;
            match next {
                Some(parent) => {
                    if seen.insert(&parent.hash) {
                        stack.push((parent, 0));
                    }
                }
                None => {
                    order.push(Arc::clone(node));
                    stack.pop();
                }
            }
        }
    }
    order
}

/// Whether `ancestor` is in the history of `node`. Looks only at nodes deeper than `ancestor`.
pub(crate) fn descends(node: &Arc<Node>, ancestor: &Arc<Node>) -> bool {
    let mut seen = HashIndex::default();
    let mut stack = vec![node];
    while let Some(node) = stack.pop() {
        if node.depth <= ancestor.depth {
            continue;
        }
        for parent in &node.parents {
            if parent.hash == ancestor.hash {
                return true;
            }
            if seen.insert(&parent.hash) {
                stack.push(parent);
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: u32, parents: &[&Arc<Node>]) -> Arc<Node> {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&name.to_le_bytes());
        Node::new(name.to_string(), hash, parents.iter().map(|p| Arc::clone(p)).collect(), 50, Arc::from([]))
    }

    fn names(passport: &Passport) -> Vec<String> {
        passport.entries().iter().map(|e| e.jws().to_owned()).collect()
    }

    #[test]
    fn serialises_exactly_the_history_of_the_tips() {
        let root = node(1, &[]);
        let a = node(2, &[&root]);
        let b = node(3, &[&root]);
        let join = node(4, &[&b, &a]);
        let _elsewhere = node(5, &[&root]);
        assert_eq!(names(&Passport::from_tips([Arc::clone(&join)])), ["1", "2", "3", "4"]);
        assert_eq!(Passport::from_tips([a]).serialize(), r#"["1","2"]"#);
        assert_eq!(Passport::new().serialize(), "[]");
    }

    #[test]
    fn merge_unites_without_duplicates_and_keeps_only_tips() {
        let root = node(1, &[]);
        let a = node(2, &[&root]);
        let b = node(3, &[&root]);
        let c = node(4, &[&a]);
        let mut passport = Passport::from_tips([Arc::clone(&a)]);
        passport.merge(&Passport::from_tips([Arc::clone(&b), Arc::clone(&c)]));
        let tips: Vec<_> = passport.tips().iter().map(|e| e.jws().to_owned()).collect();
        assert_eq!(tips, ["3", "4"]);
        passport.merge(&Passport::from_tips([root]));
        assert_eq!(passport.len(), 4);
        assert_eq!(passport.tips().len(), 2);
    }

    #[test]
    fn a_million_entries_drop_and_walk_on_a_small_stack() {
        let worker = std::thread::Builder::new().stack_size(64 * 1024).spawn(|| {
            let mut tip = node(0, &[]);
            for name in 1..1_000_000 {
                tip = node(name, &[&tip]);
            }
            let passport = Passport::from_tips([tip]);
            let length = passport.len();
            drop(passport);
            length
        });
        assert_eq!(worker.unwrap().join().unwrap(), 1_000_000);
    }
}
