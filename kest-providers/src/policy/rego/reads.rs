//! Which members of the input a policy can see at all: the others need not be made.

use std::sync::Arc;

/// What is read of the input, or of a part of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// All of it.
    Whole,
    /// These members and nothing else, sorted by name: neither how many there are nor whether there are others.
    Members(Vec<(Arc<str>, Reads)>),
}

impl Reads {
    pub(super) const NOTHING: Self = Self::Members(Vec::new());

    /// Adds what a path leads to, with everything below.
    pub(super) fn add<'p>(&mut self, mut path: impl Iterator<Item = &'p str>) {
        let Self::Members(members) = self else { return };
        let Some(name) = path.next() else {
            *self = Self::Whole;
            return;
        };
        let place = members.binary_search_by(|(known, _)| (**known).cmp(name));
        let at = place.unwrap_or_else(|at| {
            members.insert(at, (name.into(), Self::NOTHING));
            at
        });
        // By reference: the type of the path must not grow with every part.
        if let Some((_, reads)) = members.get_mut(at) {
            reads.add(&mut path as &mut dyn Iterator<Item = &'p str>);
        }
    }

    /// The same with names of its own: threads that share names contend for their counters.
    pub(super) fn apart(&self) -> Self {
        match self {
            Self::Whole => Self::Whole,
            Self::Members(members) => {
                Self::Members(members.iter().map(|(name, reads)| ((&**name).into(), reads.apart())).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(paths: &[&[&str]]) -> Reads {
        let mut reads = Reads::NOTHING;
        paths.iter().for_each(|path| reads.add(path.iter().copied()));
        reads
    }

    fn some(members: Vec<(&str, Reads)>) -> Reads {
        Reads::Members(members.into_iter().map(|(name, reads)| (name.into(), reads)).collect())
    }

    #[test]
    fn a_path_adds_what_it_leads_to() {
        let all = reads(&[&["b", "d"], &["a"], &["b", "c", "e"], &["b", "d"]]);
        let below = vec![("c", some(vec![("e", Reads::Whole)])), ("d", Reads::Whole)];
        assert_eq!(all, some(vec![("a", Reads::Whole), ("b", some(below))]));
        assert_eq!(all.apart(), all);
    }

    #[test]
    fn a_whole_stays_whole() {
        for paths in [[&["a"][..], &["a", "b"]], [&["a", "b"], &["a"]]] {
            assert_eq!(reads(&paths), some(vec![("a", Reads::Whole)]));
        }
        for paths in [[&[][..], &["a", "b"]], [&["a", "b"], &[]]] {
            assert_eq!(reads(&paths), Reads::Whole);
        }
    }
}
