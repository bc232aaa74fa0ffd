//! The arguments as written: names, values and nothing judged yet but their syntax. Spec §7.

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
use syn::ext::IdentExt as _;
use syn::parse::{ParseStream, Parser as _};
use syn::punctuated::Punctuated;
use syn::{Expr, LitStr, Token};

use crate::errors::{Errors, nearest};

/// One argument of the attribute.
#[derive(Debug)]
pub(crate) struct Arg {
    pub(crate) key: Key,
    /// The name as written, for its span.
    pub(crate) name: Ident,
    pub(crate) value: Value,
}

/// What an argument carries.
#[derive(Debug)]
pub(crate) enum Value {
    Flag,
    Expr(Box<Expr>),
    Labels(Vec<(LitStr, Expr)>),
    Params(Vec<Ident>),
}

macro_rules! keys {
    ($($variant:ident $name:literal,)*) => {
        /// The arguments there are.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Key { $($variant,)* }

        impl Key {
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The argument's name; of a name with an alias, the first.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

keys! {
    Policy "policy",
    SourceType "source_type",
    User "user",
    Agent "agent",
    Task "task",
    ResourceId "resource_id",
    ResourceAttr "resource_attr",
    AddedTaints "added_taints",
    RemovedTaints "removed_taints",
    TrustOverride "trust_override",
    Sanitizer "sanitizer",
    Operation "operation",
    Classification "classification",
    Labels "labels",
    Engine "engine",
    Identity "identity",
    TrustEvaluator "trust_evaluator",
    HashInput "hash_input",
    RecordOutput "record_output",
    OnDenied "on_denied",
    Crate "crate",
}

const ORIGIN: &str = "origin";

impl Key {
    fn find(name: &str) -> Option<Self> {
        if name == ORIGIN {
            return Some(Self::SourceType);
        }
        Self::ALL.iter().copied().find(|key| key.as_str() == name)
    }

    fn form(self) -> Form {
        match self {
            Self::Sanitizer | Self::RecordOutput => Form::Flag,
            Self::Labels => Form::Labels,
            Self::HashInput => Form::Params,
            _ => Form::Expr,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Flag,
    Expr,
    Labels,
    Params,
}

/// The arguments of one attribute.
#[derive(Debug, Default)]
pub(crate) struct Args {
    pub(crate) list: Vec<Arg>,
    /// Arguments that were meant, but whose error is reported already.
    pub(crate) meant: Vec<Key>,
}

/// Reads all arguments, going on after a bad one so that every error is found.
pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Args {
    let mut cursor = Cursor { rest: tokens.into_iter().collect::<Vec<_>>().into() };
    let Args { mut list, mut meant } = Args::default();
    while let Some(first) = cursor.rest.pop_front() {
        let TokenTree::Ident(name) = first else {
            errors.push(first.span(), format!("expected the name of an argument, found `{first}`"));
            cursor.skip_to_next();
            continue;
        };
        let text = name.unraw().to_string();
        let Some(key) = Key::find(&text) else {
            let (message, near) = unknown(&text);
            errors.push(name.span(), message);
            meant.extend(near);
            cursor.skip_to_next();
            continue;
        };
        match cursor.value(key, &name) {
            Ok(value) => match list.iter().find(|arg| arg.key == key) {
                Some(first) => errors.push(name.span(), repeated(&text, &first.name)),
                None => list.push(Arg { key, name, value }),
            },
            Err(error) => {
                errors.add(error);
                meant.push(key);
                cursor.skip_to_next();
                continue;
            }
        }
        cursor.comma(errors);
    }
    Args { list, meant }
}

fn unknown(name: &str) -> (String, Option<Key>) {
    let names: Vec<&str> = Key::ALL.iter().map(|key| key.as_str()).chain([ORIGIN]).collect();
    match nearest(name, names.iter().copied()).first() {
        Some(near) => (format!("unknown argument `{name}`; did you mean `{near}`?"), Key::find(near)),
        None => (format!("unknown argument `{name}`; the arguments are `{}`", names.join("`, `")), None),
    }
}

fn repeated(name: &str, first: &Ident) -> String {
    let first = first.unraw().to_string();
    if first == name {
        format!("`{name}` is given twice; keep one")
    } else {
        format!("`{name}` and `{first}` are the same argument; keep one")
    }
}

/// What is still to be read.
struct Cursor {
    rest: std::collections::VecDeque<TokenTree>,
}

impl Cursor {
    fn value(&mut self, key: Key, name: &Ident) -> syn::Result<Value> {
        let text = name.unraw().to_string();
        let next = self.rest.front();
        let equals = next.is_some_and(|token| is_punct(token, '='));
        match key.form() {
            Form::Flag => match next {
                None => Ok(Value::Flag),
                Some(token) if is_punct(token, ',') => Ok(Value::Flag),
                Some(_) => Err(syn::Error::new(
                    name.span(),
                    format!("`{text}` is a flag: write `{text}` alone, or leave it away"),
                )),
            },
            Form::Params => match self.group(Delimiter::Parenthesis) {
                Some(inner) => params(inner, name).map(Value::Params),
                None => Err(syn::Error::new(
                    name.span(),
                    "`hash_input` takes names of parameters: write `hash_input(id, amount)`",
                )),
            },
            Form::Labels | Form::Expr if !equals => Err(syn::Error::new(
                name.span(),
                format!("`{text}` needs a value: write `{text} = {}`", example(key)),
            )),
            Form::Labels => {
                self.rest.pop_front();
                match self.group(Delimiter::Brace) {
                    Some(inner) => labels.parse2(inner).map(Value::Labels),
                    None => Err(syn::Error::new(
                        name.span(),
                        format!("`labels` takes names and values: write `labels = {}`", example(key)),
                    )),
                }
            }
            Form::Expr => {
                self.rest.pop_front();
                if self.rest.front().is_none_or(|token| is_punct(token, ',')) {
                    return Err(syn::Error::new(
                        name.span(),
                        format!("`{text}` needs a value: write `{text} = {}`", example(key)),
                    ));
                }
                match self.expr() {
                    Ok(expr) => Ok(Value::Expr(Box::new(expr))),
                    // Such an error has no token of its own.
                    Err(error) if error.to_string().starts_with("unexpected end of input") => {
                        Err(syn::Error::new(name.span(), format!("the value of `{text}` is not complete")))
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// Takes a group of that delimiter if it is next.
    fn group(&mut self, delimiter: Delimiter) -> Option<TokenStream> {
        match self.rest.front() {
            Some(TokenTree::Group(group)) if group.delimiter() == delimiter => {
                let inner = group.stream();
                self.rest.pop_front();
                Some(inner)
            }
            _ => None,
        }
    }

    fn expr(&mut self) -> syn::Result<Expr> {
        let tokens: TokenStream = self.rest.iter().cloned().collect();
        let (expr, rest) =
            (|input: ParseStream<'_>| Ok((input.parse::<Expr>()?, input.parse::<TokenStream>()?)))
                .parse2(tokens)?;
        self.rest = rest.into_iter().collect();
        Ok(expr)
    }

    fn comma(&mut self, errors: &mut Errors) {
        match self.rest.front() {
            None => {}
            Some(token) if is_punct(token, ',') => {
                self.rest.pop_front();
            }
            Some(token) => {
                errors.push(token.span(), format!("expected `,` before `{token}`"));
                if !matches!(token, TokenTree::Ident(_)) {
                    self.skip_to_next();
                }
            }
        }
    }

    /// Goes on behind the next comma that an argument follows: not one within a closure's
    /// parameters or a list of types.
    fn skip_to_next(&mut self) {
        while let Some(token) = self.rest.pop_front() {
            if !is_punct(&token, ',') {
                continue;
            }
            let (Some(TokenTree::Ident(name)), second) = (self.rest.front(), self.rest.get(1)) else {
                continue;
            };
            let known = Key::find(&name.unraw().to_string());
            let starts = match second {
                Some(token) if is_punct(token, '=') => true,
                Some(TokenTree::Group(_)) => known.is_some_and(|key| key.form() == Form::Params),
                Some(token) if !is_punct(token, ',') => false,
                Some(_) | None => known.is_some_and(|key| key.form() == Form::Flag),
            };
            if starts {
                return;
            }
        }
    }
}

fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

fn params(inner: TokenStream, name: &Ident) -> syn::Result<Vec<Ident>> {
    let list = Punctuated::<Expr, Token![,]>::parse_terminated.parse2(inner)?;
    if list.is_empty() {
        return Err(syn::Error::new(
            name.span(),
            "`hash_input` is empty: name the parameters to hash, or leave it away",
        ));
    }
    list.iter()
        .map(|expr| {
            match expr {
                Expr::Path(path) => path.path.get_ident().cloned(),
                _ => None,
            }
            .ok_or_else(|| {
                syn::Error::new_spanned(expr, "`hash_input` takes names of parameters, not expressions")
            })
        })
        .collect()
}

fn labels(input: ParseStream<'_>) -> syn::Result<Vec<(LitStr, Expr)>> {
    let mut all = Vec::new();
    while !input.is_empty() {
        let name = input.parse::<LitStr>().map_err(|error| {
            syn::Error::new(error.span(), "a label's name is a string: write `\"team\": value`")
        })?;
        input.parse::<Token![:]>()?;
        all.push((name, input.parse()?));
        if input.is_empty() {
            break;
        }
        input.parse::<Token![,]>()?;
    }
    Ok(all)
}

fn example(key: Key) -> &'static str {
    match key {
        Key::Policy => "\"kest/allow_trusted\"",
        Key::SourceType => "\"user_input\"",
        Key::User => "current_user()",
        Key::Agent => "\"checkout-web-app\"",
        Key::Task => "format!(\"order-{id}\")",
        Key::ResourceId => "id",
        Key::ResourceAttr => "json!({\"document_id\": id})",
        Key::AddedTaints => "[\"contains_pii\"]",
        Key::RemovedTaints => "[\"raw\"]",
        Key::TrustOverride => "80",
        Key::Operation => "\"orders.process\"",
        Key::Classification => "\"data\"",
        Key::Labels => "{\"team\": \"risk\"}",
        Key::Engine => "my_engine()",
        Key::Identity => "my_identity()",
        Key::TrustEvaluator => "WeakestLink",
        Key::OnDenied => "|error| …",
        Key::Crate => "renamed_kest",
        Key::Sanitizer | Key::HashInput | Key::RecordOutput => "…",
    }
}

/// The expression behind the invisible groups that `macro_rules!` fragments come in.
pub(crate) fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Group(group) => bare(&group.expr),
        other => other,
    }
}

/// The string of a string literal.
pub(crate) fn string(expr: &Expr) -> Option<&LitStr> {
    match bare(expr) {
        Expr::Lit(lit) => match &lit.lit {
            syn::Lit::Str(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}
