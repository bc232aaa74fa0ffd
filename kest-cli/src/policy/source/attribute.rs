//! What stands in the attribute.

use proc_macro2::{TokenStream, TokenTree};
use syn::ext::IdentExt as _;
use syn::parse::{ParseStream, Parser as _};
use syn::punctuated::Punctuated;
use syn::{Expr, Lit, Meta, Path, Token};

use super::Policies;

/// The attribute's own name, whatever path leads to it.
pub(super) const NAME: &str = "kest_verified";

/// The attributes `kest_verified` in a meta item: itself, or those in a `cfg_attr`. Each with its line.
pub(super) fn find(meta: &Meta) -> Vec<(usize, Policies)> {
    let path = meta.path();
    let tokens = match meta {
        Meta::List(list) => list.tokens.clone(),
        Meta::Path(_) | Meta::NameValue(_) => TokenStream::new(),
    };
    if path.get_ident().is_some_and(|name| name.unraw() == "cfg_attr") {
        let Ok(inner) = Punctuated::<Meta, Token![,]>::parse_terminated.parse2(tokens.clone()) else {
            return if mentions(tokens) { vec![(line(path), dynamic())] } else { Vec::new() };
        };
        return inner.iter().skip(1).flat_map(find).collect();
    }
    if path.segments.last().is_some_and(|last| last.ident.unraw() == NAME) {
        return vec![(line(path), policies(tokens))];
    }
    Vec::new()
}

/// As [`find`], for the tokens between the brackets of an attribute, which in the body of a macro may be no meta item.
pub(super) fn find_in_tokens(tokens: &TokenStream) -> Vec<(usize, Policies)> {
    match syn::parse2::<Meta>(tokens.clone()) {
        Ok(meta) => find(&meta),
        Err(_) if mentions(tokens.clone()) => {
            let line = tokens.clone().into_iter().next().map_or(0, |first| first.span().start().line);
            vec![(line, dynamic())]
        }
        Err(_) => Vec::new(),
    }
}

/// Policies that nobody can tell from the text.
fn dynamic() -> Policies {
    Policies { dynamic: true, ..Policies::default() }
}

fn line(path: &Path) -> usize {
    path.segments.first().map_or(0, |segment| segment.ident.span().start().line)
}

fn mentions(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident.unraw() == NAME,
        TokenTree::Group(group) => mentions(group.stream()),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

/// The value of `policy = …` among the arguments.
fn policies(arguments: TokenStream) -> Policies {
    let tokens: Vec<TokenTree> = arguments.into_iter().collect();
    let is = |index: usize, wanted: char| matches!(tokens.get(index), Some(TokenTree::Punct(punct)) if punct.as_char() == wanted);
    let mut policies = Policies::default();
    for (index, token) in tokens.iter().enumerate() {
        let named = matches!(token, TokenTree::Ident(name) if name.unraw() == "policy");
        let begins = index.checked_sub(1).is_none_or(|before| is(before, ','));
        if named && begins && is(index + 1, '=') {
            let value: TokenStream = tokens.iter().skip(index + 2).cloned().collect();
            let first = |input: ParseStream<'_>| {
                let value = input.parse::<Expr>()?;
                // The other arguments.
                input.parse::<TokenStream>().map(|_| value)
            };
            match first.parse2(value.clone()) {
                Ok(value) => policies.take(&value),
                Err(_) => policies.take_tokens(value),
            }
        }
    }
    policies
}

impl Policies {
    /// The names in what is no expression: in the body of a macro it may have parameters. Up to the first comma.
    fn take_tokens(&mut self, value: TokenStream) {
        let first = between_commas(value).into_iter().next().unwrap_or_default();
        let named =
            |token: &TokenTree| matches!(token, TokenTree::Ident(name) if name.unraw() == "unchecked");
        let names = match first.as_slice() {
            [TokenTree::Group(group)] => group,
            [TokenTree::Punct(and), TokenTree::Group(group)] if and.as_char() == '&' => group,
            [.., name, TokenTree::Group(group)] if named(name) => {
                self.unchecked = true;
                group
            }
            _ => {
                self.dynamic = true;
                return;
            }
        };
        for name in between_commas(names.stream()).into_iter().filter(|name| !name.is_empty()) {
            let name: TokenStream = name.into_iter().collect();
            match syn::parse2::<Expr>(name.clone()) {
                Ok(name) => self.take(&name),
                Err(_) => self.take_tokens(name),
            }
        }
    }

    fn take(&mut self, value: &Expr) {
        match value {
            Expr::Group(group) => self.take(&group.expr),
            Expr::Paren(inner) => self.take(&inner.expr),
            Expr::Reference(reference) => self.take(&reference.expr),
            Expr::Array(array) => array.elems.iter().for_each(|element| self.take(element)),
            Expr::Call(call) if is_unchecked(&call.func) => {
                self.unchecked = true;
                call.args.iter().for_each(|argument| self.take(argument));
            }
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(name) => self.names.push(name.value()),
                _ => self.dynamic = true,
            },
            _ => self.dynamic = true,
        }
    }
}

/// The tokens up to each comma.
fn between_commas(tokens: TokenStream) -> Vec<Vec<TokenTree>> {
    let mut parts = vec![Vec::new()];
    for token in tokens {
        match (&token, parts.last_mut()) {
            (TokenTree::Punct(punct), _) if punct.as_char() == ',' => parts.push(Vec::new()),
            (_, Some(last)) => last.push(token),
            (_, None) => {}
        }
    }
    parts
}

fn is_unchecked(function: &Expr) -> bool {
    let is = |path: &Path| path.segments.last().is_some_and(|last| last.ident.unraw() == "unchecked");
    matches!(function, Expr::Path(path) if is(&path.path))
}
