//! Walks through a file, functions in functions and the bodies of macros included.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Ident, ImplItem, ImplItemFn, Item, ItemFn, ItemMod, Macro, TraitItem, TraitItemFn};

use super::{Protected, attribute, depth};

/// The functions of a file that have the attribute, in their order.
///
/// # Errors
/// When the text is no Rust, or too deep to be parsed.
pub(super) fn functions(file: &str, text: &str) -> Result<Vec<Protected>, String> {
    let no_rust = |error: syn::Error| {
        let at = error.span().start();
        format!("{file}:{}: not searched, as it is no Rust: {error}", at.line)
    };
    let tokens = without_shebang(text).parse::<TokenStream>().map_err(|error| no_rust(error.into()))?;
    depth::check(&tokens).map_err(|(line, why)| format!("{file}:{line}: not searched, as {why}"))?;
    let parsed = syn::parse2(tokens).map_err(no_rust)?;
    let mut walk = Walk { file, modules: Vec::new(), found: Vec::new() };
    walk.visit_file(&parsed);
    Ok(walk.found)
}

/// What the lexer does not know: a byte order mark, and the first line of a script, whose line stays.
fn without_shebang(text: &str) -> &str {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match text.strip_prefix("#!") {
        Some(rest) if !rest.trim_start().starts_with('[') => {
            text.get(text.find('\n').unwrap_or(text.len())..).unwrap_or_default()
        }
        Some(_) | None => text,
    }
}

struct Walk<'a> {
    file: &'a str,
    /// The modules around, within the file.
    modules: Vec<String>,
    found: Vec<Protected>,
}

impl Walk<'_> {
    fn function(&mut self, attributes: &[Attribute], name: &Ident) {
        for attribute in attributes {
            self.add(attribute::find(&attribute.meta), &name.to_string());
        }
    }

    fn add(&mut self, attributes: Vec<(usize, super::Policies)>, name: &str) {
        let path = self.modules.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join("::");
        self.found.extend(attributes.into_iter().map(|(line, policies)| Protected {
            file: self.file.to_owned(),
            line,
            function: path.clone(),
            policies,
        }));
    }

    /// Attributes in what syn does not parse, such as the rules of `macro_rules!`.
    fn tokens(&mut self, tokens: &TokenStream) {
        let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
        for (index, token) in tokens.iter().enumerate() {
            let TokenTree::Group(group) = token else { continue };
            let before = index.checked_sub(1).and_then(|before| tokens.get(before));
            let hash = matches!(before, Some(TokenTree::Punct(punct)) if punct.as_char() == '#');
            if hash && group.delimiter() == Delimiter::Bracket {
                let attributes = attribute::find_in_tokens(&group.stream());
                self.add(attributes, &next_function(tokens.iter().skip(index)));
            } else {
                self.tokens(&group.stream());
            }
        }
    }
}

/// The name behind the next `fn`. A macro may have it as a parameter.
fn next_function<'a>(tokens: impl Iterator<Item = &'a TokenTree>) -> String {
    let mut tokens =
        tokens.skip_while(|token| !matches!(token, TokenTree::Ident(word) if word == "fn")).skip(1);
    match tokens.next() {
        Some(TokenTree::Ident(name)) => name.to_string(),
        _ => "?".to_owned(),
    }
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        self.modules.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.modules.pop();
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.function(&function.attrs, &function.sig.ident);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.function(&function.attrs, &function.sig.ident);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        self.function(&function.attrs, &function.sig.ident);
        visit::visit_trait_item_fn(self, function);
    }

    fn visit_macro(&mut self, invocation: &'ast Macro) {
        self.tokens(&invocation.tokens);
    }

    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Verbatim(tokens) => self.tokens(tokens),
            item => visit::visit_item(self, item),
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        match item {
            ImplItem::Verbatim(tokens) => self.tokens(tokens),
            item => visit::visit_impl_item(self, item),
        }
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        match item {
            TraitItem::Verbatim(tokens) => self.tokens(tokens),
            item => visit::visit_trait_item(self, item),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(usize, String, String)> {
        let shown = |function: Protected| {
            let mut policies = function.policies.names.join(" ");
            for (word, is) in
                [(" unchecked", function.policies.unchecked), (" dynamic", function.policies.dynamic)]
            {
                policies.push_str(if is { word } else { "" });
            }
            (function.line, function.function, policies)
        };
        functions("f.rs", text).unwrap().into_iter().map(shown).collect()
    }

    fn policies(attribute: &str) -> String {
        let all = found(&format!("{attribute}\nfn f() {{}}"));
        all.into_iter().map(|(_, _, policies)| policies).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn every_form_of_the_argument() {
        for (attribute, wanted) in [
            (r#"#[kest_verified(policy = "a/b")]"#, "a/b"),
            (r#"#[kest::kest_verified(user = u(|a, b| a), policy = ["a", r"b"], sanitizer)]"#, "a b"),
            (r##"#[kest_verified(policy = r#"a"#)]"##, "a"),
            (r#"#[kest_verified(policy = &["a", "b"],)]"#, "a b"),
            (r#"#[kest_verified(policy = unchecked("a"))]"#, "a unchecked"),
            (r#"#[kest_verified(policy = unchecked(["a", name()]))]"#, "a unchecked dynamic"),
            ("#[kest_verified(policy = unchecked(names))]", " unchecked dynamic"),
            (r#"#[kest_verified(policy = concat!("a", "b"))]"#, " dynamic"),
            ("#[kest_verified(policy = )]", " dynamic"),
            (r#"#[kest_verified(labels = {"policy": "no"}, policy = "a")]"#, "a"),
            (r#"#[cfg_attr(feature = "x", inline, kest_verified(policy = "a"))]"#, "a"),
            (r#"#[cfg_attr(x, cfg_attr(y, kest::kest_verified(policy = "a")))]"#, "a"),
            ("#[kest_verified]", ""),
            (r#"#[r#kest_verified(policy = "a")]"#, "a"),
            (r#"#[kest::r#kest_verified(r#policy = r#unchecked("a"))]"#, "a unchecked"),
            (r#"#[cfg_attr(x, r#kest_verified(policy = "a"))]"#, "a"),
        ] {
            assert_eq!(policies(attribute), wanted, "{attribute}");
        }
        assert!(found(r#"#[other(policy = "a")] fn f() {}"#).is_empty());
        assert!(found("/// #[kest_verified(policy = \"a\")]\nfn f() {}").is_empty());
    }

    #[test]
    fn every_place_of_a_function() {
        let text = r#"
            mod inner { mod deeper {
                #[kest_verified(policy = "a")]
                fn one() { #[kest_verified(policy = "b")] fn two() {} }
            } }
            impl S {
                #[doc = "x"] #[kest_verified(policy = "c")] pub async fn three(&self) {} }
            trait T { #[kest_verified(policy = "d")] fn four() {} }
            fn five() { let _ = async { if true { #[kest_verified(policy = "e")] fn six() {} } }; }
            macro_rules! make { ($name:ident, $policy:literal) => {
                #[kest_verified(policy = "f")] pub fn seven() {}
                #[kest_verified(policy = $policy)] fn $name() {}
                #[kest_verified(policy = ["h", $policy], labels = {"no": "no"})] fn nine() {}
                #[kest_verified(policy = &["i", $($policy),*, concat!("no", $policy)])] fn ten() {}
                #[kest_verified(policy = kest::unchecked(["j", $policy]))] fn eleven() {}
            } }
            wrap! { mod m { #[kest_verified(policy = "g")] fn eight() {} } }
        "#;
        let wanted = [
            (3, "inner::deeper::one", "a"),
            (4, "inner::deeper::two", "b"),
            (7, "three", "c"),
            (8, "four", "d"),
            (9, "six", "e"),
            (11, "seven", "f"),
            (12, "?", " dynamic"),
            (13, "nine", "h dynamic"),
            (14, "ten", "i dynamic"),
            (15, "eleven", "j unchecked dynamic"),
            (17, "eight", "g"),
        ];
        assert_eq!(found(text), wanted.map(|(line, name, policies)| (line, name.into(), policies.into())));
    }

    #[test]
    fn scripts_and_byte_order_marks_are_read() {
        let attribute = "#[kest_verified(policy = \"a\")] fn f() {}\n";
        for (before, line) in
            [("\u{feff}", 1), ("#!/bin/x (\n", 2), ("\u{feff}#! x\n", 2), ("#![allow(x)]\n", 2)]
        {
            assert_eq!(found(&format!("{before}{attribute}")), [(line, "f".into(), "a".into())], "{before}");
        }
    }

    #[test]
    fn what_is_no_rust_is_named_with_its_line() {
        let error = functions("src/f.rs", "fn a() {}\nfn b( {}\n").unwrap_err();
        assert!(error.starts_with("src/f.rs:2: not searched"), "{error}");
    }
}
