//! Policy names, and what a misspelt one was probably meant to be.

/// Whether a text is a policy name: a slash path of segments of letters, digits, `_` and `-`. Spec §11.
pub(crate) fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    name.split('/').all(|segment| !segment.is_empty() && segment.chars().all(fits))
}

/// `; did you mean …?` with at most three of `candidates`, best first; empty where none is near.
///
/// A name is also near when its last segment is the word.
pub(crate) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let limit = (word.chars().count() / 3).max(1);
    let mut near: Vec<(usize, &str)> = candidates
        .into_iter()
        .map(|candidate| match candidate.rsplit_once('/') {
            Some((_, last)) if last == word => (1, candidate),
            _ => (strsim::damerau_levenshtein(word, candidate), candidate),
        })
        .filter(|(distance, _)| *distance <= limit)
        .collect();
    near.sort_unstable();
    near.dedup();
    near.truncate(3);
    let near: Vec<String> = near.into_iter().map(|(_, candidate)| format!("`{candidate}`")).collect();
    match near.split_last() {
        None => String::new(),
        Some((last, [])) => format!("; did you mean {last}?"),
        Some((last, others)) => format!("; did you mean {} or {last}?", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "kest/allow_trusted", "payments-pci/x", "a1/2b"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "a b", "../a", "a.b", "ä", "a\0b"] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn near_names() {
        let of = |word| did_you_mean(word, ["kest/allow_trusted", "orders/refund", "orders/refuse"]);
        assert_eq!(of("allow_trusted"), "; did you mean `kest/allow_trusted`?");
        assert_eq!(of("orders/refun"), "; did you mean `orders/refund` or `orders/refuse`?");
        assert_eq!(of("something/else"), "");
        assert_eq!(did_you_mean("one", ["ona", "ona"]), "; did you mean `ona`?");
    }
}
