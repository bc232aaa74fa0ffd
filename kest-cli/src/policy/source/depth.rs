//! How deep a text may be for the parser, which calls itself for each bracket, operator and type in another: what is
//! deeper would end the process.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The stack of the thread that parses, of which only what is used is taken from memory.
pub(super) const STACK: usize = 512 << 20;
/// The most brackets in brackets.
const BRACKETS: usize = 200;
/// The most tokens that can be parts of one another: those since the last `;`, `,` or end of a block, in all open
/// brackets together.
const TOKENS: usize = 4_000;

/// Refuses tokens that are too deep, with the line.
///
/// # Errors
/// When there are more brackets in brackets, or longer chains, than the stack is for.
pub(super) fn check(tokens: &TokenStream) -> Result<(), (usize, String)> {
    within(tokens.clone(), 0, 0)
}

fn within(tokens: TokenStream, brackets: usize, around: usize) -> Result<(), (usize, String)> {
    let mut chain = 0;
    let mut after_block = false;
    for token in tokens {
        let line = || token.span().start().line;
        if brackets > BRACKETS {
            return Err((line(), format!("it has more than {BRACKETS} brackets in brackets")));
        }
        // What begins with a word or an attribute is something new behind a block.
        let begins = match &token {
            TokenTree::Ident(word) => word != "else" && word != "as",
            TokenTree::Punct(punct) => punct.as_char() == '#',
            TokenTree::Group(_) | TokenTree::Literal(_) => false,
        };
        let ends = matches!(&token, TokenTree::Punct(punct) if matches!(punct.as_char(), ';' | ','));
        chain = if ends || (after_block && begins) { 1 } else { chain + 1 };
        if around + chain > TOKENS {
            return Err((
                line(),
                format!("an expression or a type has more than {TOKENS} parts in one another"),
            ));
        }
        after_block = false;
        if let TokenTree::Group(group) = &token {
            within(group.stream(), brackets + 1, around + chain)?;
            after_block = group.delimiter() == Delimiter::Brace;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::policy::source::visit::functions;

    /// What comes of a text on a stack like that of the search.
    fn outcome(text: String) -> Result<usize, String> {
        let search = move || functions("f.rs", &text).map(|found| found.len());
        thread::Builder::new().stack_size(STACK).spawn(search).unwrap().join().unwrap()
    }

    /// Each nests something once more for each time it is repeated: before, what is repeated, in the middle, and what
    /// closes it.
    const CHAINS: [(&str, &str, &str, &str); 22] = [
        ("fn f() { ", "!", "x", " }"),
        ("fn f() { ", "-", "x", " }"),
        ("fn f() { ", "& ", "x", " }"),
        ("fn f() { ", "*", "x", " }"),
        ("fn f() { ", "return ", "x", " }"),
        ("fn f() { ", "|| ", "x", " }"),
        ("fn f() { ", "a = ", "x", " }"),
        ("fn f() { x", " + a", "", " }"),
        ("fn f() { x", ".a()", "", " }"),
        ("fn f() { x", "?", "", " }"),
        ("fn f() { x", " as T", "", " }"),
        ("fn f() { if x {}", " else if x {}", "", " }"),
        ("fn f() { let ", "&", "x", " = y; }"),
        ("fn f() { let ", "a @ ", "x", " = y; }"),
        ("type T = ", "&", "u8", ";"),
        ("type T = ", "*const ", "u8", ";"),
        ("type T = ", "fn() -> ", "u8", ";"),
        ("type T = ", "A<", "u8", ">"),
        ("type T = ", "impl Fn() -> ", "u8", ";"),
        ("type T = a", "::a", "", ";"),
        ("fn f() { ", "async move || ", "x", " }"),
        ("fn f() { ", "break 'a ", "x", " }"),
    ];
    const NESTED: [(&str, &str, &str, &str, &str); 9] = [
        ("fn f() { ", "(", "x", ")", " }"),
        ("fn f() { ", "[", "x", "]", " }"),
        ("fn f() { ", "{", "x", "}", " }"),
        ("fn f() { ", "a(", "x", ")", " }"),
        ("fn f() { ", "if x {", "x", "}", " }"),
        ("fn f() { ", "match x { _ => ", "x", "}", " }"),
        ("type T = ", "(", "u8", ")", ";"),
        ("", "mod a {", "", "}", ""),
        ("a! { ", "(", "#[kest_verified] fn g() {}", ")", " }"),
    ];

    fn chain((before, link, middle, after): (&str, &str, &str, &str), links: usize) -> String {
        let close = if link.ends_with('<') { ">".repeat(links - 1) } else { String::new() };
        let end = if link.ends_with('<') { ";" } else { "" };
        format!("#[kest_verified] fn x() {{}}\n{before}{}{middle}{close}{after}{end}", link.repeat(links))
    }

    #[test]
    fn chains_end_neither_the_process_nor_the_search() {
        for of in CHAINS {
            let error = outcome(chain(of, 20_000)).unwrap_err();
            assert!(
                error.starts_with("f.rs:2: not searched, as an expression or a type has more"),
                "{error}"
            );
            // As long as is let through, whether it is Rust or not.
            let length = of.1.parse::<TokenStream>().map_or(1, |tokens| tokens.into_iter().count());
            let mut links = TOKENS / length;
            while let Err(error) = outcome(chain(of, links)) {
                if !error.contains("in one another") {
                    break;
                }
                links -= links / 100 + 1;
            }
            assert!(links > TOKENS / length / 3, "{links} of {}", of.1);
        }
    }

    #[test]
    fn brackets_end_neither_the_process_nor_the_search() {
        for (before, open, middle, close, after) in NESTED {
            let text = |times: usize| {
                format!("{before}{}{middle}{}{after}", open.repeat(times), close.repeat(times))
            };
            let error = outcome(text(10_000)).unwrap_err();
            assert!(error.contains("not searched, as it has more than 200 brackets in brackets"), "{error}");
            assert!(outcome(text(190)).is_ok(), "{open}");
        }
    }

    #[test]
    fn both_together_are_bounded() {
        let chain = "!".repeat(TOKENS / 100);
        let text = |times: usize| {
            format!("fn f() {{ {}x{} }}", format!("{chain}(").repeat(times), ")".repeat(times))
        };
        assert!(outcome(text(90)).is_ok());
        assert!(outcome(text(120)).unwrap_err().contains("in one another"));
    }

    #[test]
    fn long_files_are_not_deep() {
        let text = "impl A { fn f() { if x { y } else { z } g(); match x { _ => {} } } }\n#[a] struct B {}\n"
            .repeat(5_000);
        assert_eq!(outcome(format!("{text}const A: [u8; 20000] = [{}];", "1, ".repeat(20_000))), Ok(0));
    }
}
