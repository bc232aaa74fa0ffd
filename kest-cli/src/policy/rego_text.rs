//! Rego read as text: what of it is code, and what that refers to.

/// The text without comments and without what stands in strings, so far as it can be told from the text: a string with
/// expressions in it leaves all as it is.
pub(crate) fn code(text: &str) -> String {
    if text.contains("$\"") || text.contains("$`") {
        return text.to_owned();
    }
    let mut code = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '#' => {
                let newline = chars.by_ref().find(|c| *c == '\n');
                code.extend(newline);
            }
            '"' => {
                code.push_str("\"\"");
                while let Some(c) = chars.next() {
                    match c {
                        '"' | '\n' => break,
                        '\\' => drop(chars.next()),
                        _ => {}
                    }
                }
            }
            '`' => {
                code.push_str("\"\"");
                let _ = chars.by_ref().find(|c| *c == '`');
            }
            c => code.push(c),
        }
    }
    code
}

/// The paths below `data` that a text names, each up to what is no plain name. Another package, and what is in no
/// package, is to be had by this word alone.
#[cfg(feature = "opa")]
pub(crate) fn references(text: &str) -> Vec<Vec<String>> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let code = code(text);
    let mut references = Vec::new();
    for (at, word) in code.match_indices("data") {
        let before = code.get(..at).and_then(|before| before.chars().next_back());
        let mut rest = code.get(at + word.len()..).unwrap_or_default();
        if before.is_some_and(|c| is_word(c) || c == '.') || rest.starts_with(is_word) {
            continue;
        }
        let mut path = Vec::new();
        while let Some(after) = rest.strip_prefix('.') {
            let end = after.find(|c| !is_word(c)).unwrap_or(after.len());
            let (name, more) = after.split_at(end);
            if name.is_empty() {
                break;
            }
            path.push(name.to_owned());
            rest = more;
        }
        references.push(path);
    }
    references
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_no_code() {
        for (text, wanted) in [
            ("a # data.b\nc", "a \nc"),
            (r##"a := "x # \" data.b" # y"##, r#"a := "" "#),
            ("a := `# \" data.b`\nd", "a := \"\"\nd"),
            ("a := \"open\nb # c", "a := \"\"b "),
            ("a := $\"{data.b}\" # c", "a := $\"{data.b}\" # c"),
        ] {
            assert_eq!(code(text), wanted, "{text}");
        }
    }

    #[cfg(feature = "opa")]
    #[test]
    fn every_use_of_data_is_seen() {
        let of = |text: &str| references(text).into_iter().map(|path| path.join(".")).collect::<Vec<_>>();
        assert_eq!(of("import data.a.b as c\nallow if data.d[x].e\n"), ["a.b", "d"]);
        assert_eq!(of("allow if data[\"a\"].b == data\n"), ["", ""]);
        assert_eq!(of("allow if f with data.x as 1"), ["x"]);
        assert_eq!(of("allow if $\"{data.x}\" == \"y\""), ["x"]);
        assert!(of("metadata.a; data_b; input.data.c; {\"data\": 1} # data.d\n").is_empty());
    }
}
