//! The rules: what was written, judged, becomes the [`Call`] that is expanded. Spec §7.

use std::path::PathBuf;

use proc_macro2::{Ident, Span};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{Expr, Path, ReturnType, Type};

use crate::args::{Arg, Args, Key, Value, bare, string};
use crate::catalog::Catalog;
use crate::errors::{Errors, nearest, one_of};
use crate::function::{Function, Shape};
use crate::literals::{self, Text};
use crate::policy_names;

/// What the attribute says, checked.
#[derive(Debug, Default)]
pub(crate) struct Call {
    pub(crate) operation: Option<String>,
    pub(crate) classification: Option<String>,
    pub(crate) policies: Vec<String>,
    pub(crate) source_type: Option<String>,
    pub(crate) added_taints: Vec<String>,
    pub(crate) removed_taints: Vec<String>,
    pub(crate) trust_override: Option<u8>,
    pub(crate) sanitizer: bool,
    pub(crate) labels: Vec<(String, String)>,
    /// What is evaluated at each call, in the order written.
    pub(crate) setters: Vec<Setter>,
    pub(crate) record_output: bool,
    pub(crate) on_denied: Option<Expr>,
    pub(crate) path: Option<Path>,
    pub(crate) config_seen: Option<String>,
    pub(crate) reads: Vec<PathBuf>,
}

/// One call on the `Invocation`.
#[derive(Debug)]
pub(crate) struct Setter {
    pub(crate) method: &'static str,
    /// The first argument of `label` and `input`.
    pub(crate) name: Option<String>,
    pub(crate) value: Expr,
    /// Whether the method takes a reference.
    pub(crate) by_ref: bool,
}

/// Built into the models of spec §8: the union of both maps.
const SOURCES: [&str; 13] = [
    "system",
    "verified_rag",
    "internal",
    "verified_partner",
    "partner",
    "third_party_api",
    "authenticated_user",
    "user_input",
    "third_party",
    "internet",
    "unauthenticated",
    "llm",
    "adversarial",
];

/// Judges arguments and function together; `catalog` is `None` when it could not be read.
pub(crate) fn validate(
    args: Args,
    function: &Function,
    mut catalog: Option<Catalog>,
    errors: &mut Errors,
) -> Call {
    let Args { list: args, meant } = args;
    function_fits(function, errors);
    let given = |key: Key| args.iter().find(|arg| arg.key == key).map(|arg| arg.name.clone());
    let (has_policy, changes_trust) =
        (given(Key::Policy), given(Key::Sanitizer).or_else(|| given(Key::TrustOverride)));
    let removes = given(Key::RemovedTaints);
    if has_policy.is_none() && !meant.contains(&Key::Policy) {
        errors.push(
            Span::call_site(),
            "no policy is named: write `policy = \"kest/allow_trusted\"`, or a list of which all must allow",
        );
    }
    if let (Some(name), None) = (removes, changes_trust) {
        errors.push(
            name.span(),
            "`removed_taints` needs a declared reason: add `sanitizer`, or `trust_override = <score>`",
        );
    }
    let mut call = Call::default();
    let mut taints = Vec::new();
    for Arg { key, name, value } in args {
        match value {
            Value::Flag => match key {
                Key::Sanitizer => call.sanitizer = true,
                _ => call.record_output = true,
            },
            Value::Params(params) => inputs(params, function, &mut call, errors),
            Value::Labels(labels) => all_labels(labels, &mut call, errors),
            Value::Expr(expr) => {
                argument(key, &name, *expr, &mut call, &mut taints, catalog.as_mut(), errors)
            }
        }
    }
    literals::both_ways(&taints, errors);
    if let Some(catalog) = catalog {
        call.config_seen = catalog.config_seen();
        call.reads = catalog.reads().to_vec();
    }
    call
}

fn argument(
    key: Key,
    name: &Ident,
    expr: Expr,
    call: &mut Call,
    taints: &mut Vec<(Key, syn::LitStr)>,
    catalog: Option<&mut Catalog>,
    errors: &mut Errors,
) {
    match key {
        Key::Policy => policy(expr, call, catalog, errors),
        Key::SourceType => match literals::text(name, expr, errors) {
            Text::Literal(source) => {
                if let Some(catalog) = catalog {
                    known_source(&source, catalog, errors);
                }
                call.source_type = Some(source.value());
            }
            Text::Expr(expr) => call.set("source_type", *expr, false, errors),
            Text::Wrong => {}
        },
        Key::Operation | Key::Classification => match literals::text(name, expr, errors) {
            Text::Literal(text) if key == Key::Operation => call.operation = Some(text.value()),
            Text::Literal(text) => {
                let value = text.value();
                if matches!(value.as_str(), "completion" | "snapshot" | "denial") {
                    errors.push_spanned(
                        &text,
                        format!("classification `{value}` is kest's own; choose another, such as `data`"),
                    );
                }
                call.classification = Some(value);
            }
            Text::Expr(expr) => call.set(key.as_str(), *expr, false, errors),
            Text::Wrong => {}
        },
        Key::AddedTaints | Key::RemovedTaints => {
            let read = literals::names(name, expr, errors);
            taints.extend(read.literals.iter().map(|literal| (key, literal.clone())));
            match read.expr {
                Some(expr) => call.set(key.as_str(), expr, false, errors),
                None => {
                    let list = if key == Key::AddedTaints {
                        &mut call.added_taints
                    } else {
                        &mut call.removed_taints
                    };
                    *list = read.literals.iter().map(syn::LitStr::value).collect();
                }
            }
        }
        Key::TrustOverride => match literals::score(expr, errors) {
            literals::Score::Literal(score) => call.trust_override = Some(score),
            literals::Score::Expr(expr) => call.set("trust_override", *expr, false, errors),
            literals::Score::Wrong => {}
        },
        Key::User | Key::Agent | Key::Task | Key::ResourceId | Key::ResourceAttr => {
            call.set(key.as_str(), expr, true, errors);
        }
        Key::Engine | Key::Identity | Key::TrustEvaluator => match literals::kind(&expr) {
            Some(kind) => errors.push_spanned(
                &expr,
                format!("`{name}` takes an expression that makes one, such as `my_{name}()`; found {kind}"),
            ),
            None => call.set(key.as_str(), expr, false, errors),
        },
        Key::OnDenied => match denied_closure(&expr) {
            Ok(()) => call.on_denied = Some(expr),
            Err(message) => errors.push_spanned(&expr, message),
        },
        Key::Crate => match bare(&expr) {
            Expr::Path(path) if path.qself.is_none() => call.path = Some(path.path.clone()),
            other => errors.push_spanned(
                other,
                "`crate` takes the path of Kest, unquoted: write `crate = renamed_kest`",
            ),
        },
        // INVARIANT: `args::parse` never gives these as expressions.
        Key::Sanitizer | Key::RecordOutput | Key::Labels | Key::HashInput => {}
    }
}

impl Call {
    /// Notes an expression for the run time; a closure literal will be called.
    fn set(&mut self, method: &'static str, value: Expr, by_ref: bool, errors: &mut Errors) {
        self.push(Setter { method, name: None, value, by_ref }, errors);
    }

    fn push(&mut self, setter: Setter, errors: &mut Errors) {
        if let Expr::Closure(closure) = bare(&setter.value)
            && let Some(first) = closure.inputs.first()
        {
            errors.push_spanned(
                first,
                "a closure given as a value is called without arguments; it sees the function's own",
            );
        }
        self.setters.push(setter);
    }
}

fn function_fits(function: &Function, errors: &mut Errors) {
    let sig = &function.sig;
    if let Some(token) = &sig.constness {
        errors.push(
            token.span(),
            "a `const fn` cannot be verified: policy and signature need run time; remove `const`",
        );
    }
    if let Some(abi) = &sig.abi
        && abi.name.as_ref().is_none_or(|name| name.value() != "Rust")
    {
        errors.push_spanned(abi, "a function of a foreign ABI cannot return a denial; call a Rust function from it and verify that one");
    }
    if let ReturnType::Type(_, ty) = &sig.output
        && matches!(**ty, Type::Never(_))
    {
        errors.push_spanned(ty, "a function that never returns cannot be denied; return a `Result`");
    }
    if let Shape::Refused(error) = function.shape() {
        errors.add(error);
    }
}

fn policy(expr: Expr, call: &mut Call, catalog: Option<&mut Catalog>, errors: &mut Errors) {
    const UNCHECKED: &str = "a policy is named by a string literal, so that it is checked when compiling; \
                             for names known at run time write `policy = unchecked(…)`";
    let elements: Vec<&Expr> = match bare(&expr) {
        Expr::Call(inner) if is_unchecked(&inner.func) => {
            let mut args = inner.args.iter();
            match (args.next(), args.next()) {
                (Some(names), None) => match literals::kind(names) {
                    None | Some("a string" | "a list") => call.set("policies", names.clone(), false, errors),
                    Some(kind) => errors.push_spanned(
                        names,
                        format!("`unchecked` takes a name or a list of names; found {kind}"),
                    ),
                },
                _ => {
                    errors.push_spanned(inner, "`unchecked` takes one expression: a name or a list of names")
                }
            }
            return;
        }
        Expr::Array(array) if array.elems.is_empty() => {
            errors.push_spanned(array, "the list of policies is empty; name at least one, all must allow");
            return;
        }
        Expr::Array(array) => array.elems.iter().collect(),
        single => vec![single],
    };
    let mut names: Vec<&syn::LitStr> = Vec::new();
    for element in elements {
        match (string(element), literals::kind(element)) {
            (Some(literal), _) => names.push(literal),
            (None, Some(kind)) => {
                errors.push_spanned(element, format!("a policy is named by a string; found {kind}"))
            }
            (None, None) => errors.push_spanned(element, UNCHECKED),
        }
    }
    let mut catalog = catalog;
    for (index, literal) in names.iter().enumerate() {
        let name = literal.value();
        if names.iter().take(index).any(|earlier| earlier.value() == name) {
            errors.push(literal.span(), format!("policy `{name}` is named twice; keep one"));
        } else if let Some(message) = policy_names::bad_name(&name) {
            errors.push(literal.span(), message);
        } else if let Some(Err(message)) = catalog.as_mut().map(|catalog| catalog.check(&name)) {
            errors.push(literal.span(), message);
        }
        call.policies.push(name);
    }
}

fn is_unchecked(func: &Expr) -> bool {
    matches!(func, Expr::Path(path) if path.path.is_ident("unchecked"))
}

fn known_source(literal: &syn::LitStr, catalog: &Catalog, errors: &mut Errors) {
    let source = literal.value();
    if SOURCES.contains(&source.as_str()) || catalog.sources().contains(&source) {
        return;
    }
    let all = SOURCES.into_iter().chain(catalog.sources().iter().map(String::as_str));
    let near = nearest(&source, all);
    let fix = if near.is_empty() { String::new() } else { format!("; did you mean {}?", one_of(&near)) };
    errors.push(
        literal.span(),
        format!(
            "unknown source type `{source}`{fix} (own sources go into `[trust.sources]` of kest.toml; \
             one from `register_origin_trust` is given as an expression, not as a literal)"
        ),
    );
}

fn denied_closure(expr: &Expr) -> Result<(), String> {
    match bare(expr) {
        Expr::Closure(closure) if closure.inputs.len() != 1 => {
            Err("`on_denied` takes one argument, the error: write `on_denied = |error| …`".into())
        }
        Expr::Closure(closure) if closure.asyncness.is_some() => {
            Err("`on_denied` gives the return value at once; it cannot be `async`".into())
        }
        other => match literals::kind(other) {
            Some(kind) => Err(format!(
                "`on_denied` takes a function of the error, `on_denied = |error| …`; found {kind}"
            )),
            None => Ok(()),
        },
    }
}

fn inputs(params: Vec<Ident>, function: &Function, call: &mut Call, errors: &mut Errors) {
    let known = function.parameters();
    let mut seen: Vec<String> = Vec::new();
    for param in params {
        let name = param.unraw().to_string();
        if name == "self" {
            errors.push(param.span(), "`hash_input` takes named parameters, and `self` is none; put what matters of it into `resource_attr`");
        } else if !known.contains(&name) {
            let near = nearest(&name, known.iter().map(String::as_str));
            let fix = if !near.is_empty() {
                format!("; did you mean {}?", one_of(&near))
            } else if known.is_empty() {
                "; the function has none".to_owned()
            } else {
                let all: Vec<&str> = known.iter().map(String::as_str).collect();
                format!("; it can hash {}", one_of(&all))
            };
            errors
                .push(param.span(), format!("`{name}` is not a parameter of `{}`{fix}", function.sig.ident));
        } else if seen.contains(&name) {
            errors.push(param.span(), format!("`{name}` is hashed twice; keep one"));
        } else {
            let value = Expr::Path(syn::parse_quote!(#param));
            call.push(Setter { method: "input", name: Some(name.clone()), value, by_ref: true }, errors);
        }
        seen.push(name);
    }
}

fn all_labels(labels: Vec<(syn::LitStr, Expr)>, call: &mut Call, errors: &mut Errors) {
    let mut seen: Vec<String> = Vec::new();
    for (literal, expr) in labels {
        let name = literal.value();
        if let Some(message) = bad_label(&name, &seen) {
            errors.push(literal.span(), message);
        }
        match (string(&expr), literals::kind(&expr)) {
            (Some(text), _) => call.labels.push((name.clone(), text.value())),
            (None, Some(kind)) => {
                errors.push(expr.span(), format!("the value of label `{name}` is a string; found {kind}"))
            }
            (None, None) => {
                call.push(
                    Setter { method: "label", name: Some(name.clone()), value: expr, by_ref: false },
                    errors,
                );
            }
        }
        seen.push(name);
    }
}

fn bad_label(name: &str, seen: &[String]) -> Option<String> {
    if name.is_empty() {
        return Some("the name of a label cannot be empty".into());
    }
    // Spec §2: the signer's own labels.
    if name == "principal" || name == "trace_id" || name.starts_with("kest.") {
        return Some(format!(
            "label `{name}` is Kest's own (`principal`, `trace_id`, `kest.*`); choose another name"
        ));
    }
    seen.iter().any(|earlier| earlier == name).then(|| format!("label `{name}` is given twice; keep one"))
}
