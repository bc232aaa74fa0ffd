//! Policy names and the Rego packages they stand for.

/// Why a text is no policy name, with the fix; `None` when it is one.
pub(crate) fn bad_name(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("a policy name cannot be empty; name a policy such as `kest/allow_trusted`".into());
    }
    if is_name(name) {
        return None;
    }
    let path = name.strip_suffix(".rego").or_else(|| name.strip_suffix(".cedar")).unwrap_or(name);
    let path = path.strip_prefix("data.").unwrap_or(path);
    let path = path.replace(['.', '\\', ':'], "/");
    let repaired: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let repaired = repaired.join("/");
    let hint = if is_name(&repaired) {
        format!("; write `{repaired}`")
    } else {
        "; its segments are of letters, digits, `_` and `-`".to_owned()
    };
    Some(format!("`{name}` is not a policy name, which is a slash path{hint}"))
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    name.split('/').all(|segment| !segment.is_empty() && segment.chars().all(fits))
}

/// The first segment that cannot be part of a Rego package.
pub(crate) fn not_rego(name: &str) -> Option<&str> {
    name.split('/').find(|segment| segment.contains('-') || segment.starts_with(|c: char| c.is_ascii_digit()))
}

/// The package a Rego source declares, as a slash path.
pub(crate) fn rego_package(source: &str) -> Option<String> {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let line = source.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
    let rest = line.strip_prefix("package")?;
    if !rest.starts_with([' ', '\t']) {
        return None;
    }
    let path: String =
        rest.trim_start().chars().take_while(|c| !matches!(c, ' ' | '\t' | '#' | ';')).collect();
    let path = path.replace("[\"", ".").replace("\"]", "");
    (!path.is_empty()).then(|| path.replace('.', "/"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "kest/allow_trusted", "a/b/c", "payments-pci/x", "a1/2b"] {
            assert_eq!(bad_name(good), None, "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "a b", "../a", "a/../b", "ä", "a\0b"] {
            assert!(bad_name(bad).is_some(), "{bad}");
        }
        assert!(bad_name("kest.allow_trusted").unwrap().ends_with("write `kest/allow_trusted`"));
        assert!(bad_name("data.kest.x").unwrap().ends_with("write `kest/x`"));
        assert!(bad_name("kest/x.rego").unwrap().ends_with("write `kest/x`"));
        assert!(bad_name("a b").unwrap().ends_with("`_` and `-`"));
    }

    #[test]
    fn packages() {
        let of = |source| rego_package(source);
        assert_eq!(of("package kest.allow\n").as_deref(), Some("kest/allow"));
        assert_eq!(of("\u{feff}# text\n\n  package  a.b # more\n").as_deref(), Some("a/b"));
        assert_eq!(of("package a[\"b-c\"].d").as_deref(), Some("a/b-c/d"));
        assert_eq!(of("package a; allow := true").as_deref(), Some("a"));
        assert_eq!(of("packages.a"), None);
        assert_eq!(of("package "), None);
        assert_eq!(of("import rego.v1\npackage a"), None);
        assert_eq!(of(""), None);
    }

    #[test]
    fn segments_rego_cannot_name() {
        assert_eq!(not_rego("payments-pci/x"), Some("payments-pci"));
        assert_eq!(not_rego("a/1b"), Some("1b"));
        assert_eq!(not_rego("kest/allow_trusted"), None);
    }
}
