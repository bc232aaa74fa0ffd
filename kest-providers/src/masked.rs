//! Addresses for messages and `Debug`, before anything is known of them.

/// The text without what may be secret in an address: user info, query and fragment.
pub(crate) fn masked(text: &str) -> String {
    let end = text.find(['?', '#']).unwrap_or(text.len());
    let (head, tail) = text.split_at(end);
    // A password may have such a character itself.
    if tail.contains('@') {
        return "***".to_owned();
    }
    let more = tail.chars().next().map(|c| format!("{c}***")).unwrap_or_default();
    match head.rsplit_once('@') {
        Some((_, rest)) => format!("***@{rest}{more}"),
        None => format!("{head}{more}"),
    }
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn what_may_be_secret_is_not_shown() {
        for (text, shown) in [
            ("https://h/a/b", "https://h/a/b"),
            ("https://h/?access_token=s3cret", "https://h/?***"),
            ("https://h/a#s3cret", "https://h/a#***"),
            ("https://h/#a?s3cret", "https://h/#***"),
            ("https://u:s3cret@h/a", "***@h/a"),
            ("https://u:s3cret@h/?s3cret", "***@h/?***"),
            ("https://u:s3@cret@h/", "***@h/"),
            ("https://u:s3/cret@h/", "***@h/"),
            ("https://u:s3?cret@h/", "***"),
            ("https://u:s3#cret@h/", "***"),
            ("https://h/?to=me@s3cret", "***"),
            ("s3cret@", "***@"),
            ("", ""),
        ] {
            assert_eq!(masked(text), shown, "{text}");
        }
    }
}
