//! Values that can be judged when compiling: texts, lists of taints, scores.

use proc_macro2::Ident;
use syn::{Expr, Lit, LitStr, UnOp};

use crate::args::{Key, bare, string};
use crate::errors::Errors;

/// A text argument.
#[derive(Debug)]
pub(crate) enum Text {
    Literal(LitStr),
    Expr(Box<Expr>),
    Wrong,
}

/// A list of names: its literals and, when not all are literals, the whole of it.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) literals: Vec<LitStr>,
    pub(crate) expr: Option<Expr>,
}

/// A trust score.
#[derive(Debug)]
pub(crate) enum Score {
    Literal(u8),
    Expr(Box<Expr>),
    Wrong,
}

/// What kind of literal an expression is; `None` for everything that may have any type.
pub(crate) fn kind(expr: &Expr) -> Option<&'static str> {
    match bare(expr) {
        Expr::Lit(lit) => Some(match &lit.lit {
            Lit::Str(_) => "a string",
            Lit::ByteStr(_) | Lit::CStr(_) => "bytes",
            Lit::Byte(_) | Lit::Int(_) | Lit::Float(_) => "a number",
            Lit::Char(_) => "a character",
            Lit::Bool(_) => "a boolean",
            _ => "a literal",
        }),
        Expr::Array(_) | Expr::Repeat(_) => Some("a list"),
        Expr::Tuple(_) => Some("a tuple"),
        Expr::Unary(unary) if matches!(unary.op, UnOp::Neg(_)) => kind(&unary.expr),
        _ => None,
    }
}

/// A non-empty text, or an expression that gives one.
pub(crate) fn text(name: &Ident, expr: Expr, errors: &mut Errors) -> Text {
    if let Some(literal) = string(&expr) {
        if literal.value().is_empty() {
            errors.push(literal.span(), format!("`{name}` cannot be empty; name it, or leave it away"));
        }
        return Text::Literal(literal.clone());
    }
    match kind(&expr) {
        Some(kind) => {
            errors.push_spanned(&expr, format!("`{name}` takes a string; found {kind}"));
            Text::Wrong
        }
        None => Text::Expr(Box::new(expr)),
    }
}

/// Taints: one or a list; literals are checked here.
pub(crate) fn names(name: &Ident, expr: Expr, errors: &mut Errors) -> Names {
    let elements: Vec<&Expr> = match bare(&expr) {
        Expr::Array(array) if array.elems.is_empty() => {
            errors.push_spanned(array, format!("`{name}` is empty; name a taint, or leave it away"));
            return Names { literals: Vec::new(), expr: None };
        }
        Expr::Array(array) => array.elems.iter().collect(),
        single => vec![single],
    };
    let mut literals: Vec<LitStr> = Vec::new();
    let mut all = true;
    for element in elements {
        match (string(element), kind(element)) {
            (Some(literal), _) => {
                let value = literal.value();
                if value.is_empty() {
                    errors.push(literal.span(), "a taint cannot be empty; name it, or leave it away");
                } else if literals.iter().any(|earlier| earlier.value() == value) {
                    errors.push(
                        literal.span(),
                        format!("taint `{value}` is given twice in `{name}`; keep one"),
                    );
                }
                literals.push(literal.clone());
            }
            (None, Some(kind)) => errors.push_spanned(element, format!("a taint is a string; found {kind}")),
            (None, None) => all = false,
        }
    }
    Names { literals, expr: (!all).then_some(expr) }
}

/// No taint is both added and removed.
pub(crate) fn both_ways(taints: &[(Key, LitStr)], errors: &mut Errors) {
    for (index, (key, literal)) in taints.iter().enumerate() {
        let value = literal.value();
        let earlier =
            taints.iter().take(index).any(|(other, earlier)| other != key && earlier.value() == value);
        if earlier && !value.is_empty() {
            errors.push(
                literal.span(),
                format!("taint `{value}` is both added and removed; keep one of the two"),
            );
        }
    }
}

/// A score from 0 to 100, or an expression that gives one.
pub(crate) fn score(expr: Expr, errors: &mut Errors) -> Score {
    let range = "`trust_override` is a score from 0 to 100";
    match (bare(&expr), kind(&expr)) {
        (Expr::Lit(lit), _) if matches!(lit.lit, Lit::Int(_)) => {
            let Lit::Int(number) = &lit.lit else {
                return Score::Wrong;
            };
            match number.base10_parse::<u8>() {
                Ok(score) if score <= 100 => return Score::Literal(score),
                Ok(_) | Err(_) => errors.push(number.span(), format!("{range}; found `{number}`")),
            }
        }
        (Expr::Unary(_), Some("a number")) => {
            errors.push_spanned(&expr, format!("{range}; found a negative number"))
        }
        (Expr::Lit(lit), _) if matches!(lit.lit, Lit::Float(_)) => {
            errors.push_spanned(&expr, format!("{range}; found a fraction"));
        }
        (_, Some(kind)) => errors.push_spanned(&expr, format!("{range}; found {kind}")),
        (_, None) => return Score::Expr(Box::new(expr)),
    }
    Score::Wrong
}
