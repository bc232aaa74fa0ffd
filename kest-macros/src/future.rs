//! A function that is not `async` and returns a future: the hook goes inside the future, for that
//! is where the work is done. What would run before it is refused.

use quote::ToTokens as _;
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{
    Expr, ExprAsync, GenericArgument, Local, LocalInit, Pat, PathArguments, Stmt, Type, TypeParamBound,
    parse_quote_spanned,
};

use crate::function::{Shape, bindings, nameable};

/// The `async` block that ends a body, perhaps in `Box::pin`.
#[derive(Debug)]
pub(crate) struct Future {
    /// Other names for parameters, and nothing else.
    pub(crate) before: Vec<Stmt>,
    pub(crate) pin: Option<Expr>,
    pub(crate) block: ExprAsync,
    pub(crate) output: Type,
}

const NOT_FOUND: &str = "the returned future was not found: make this an `async fn`, or end the body in \
                         `Box::pin(async move { … })`";
const TOO_EARLY: &str = "this would run before the policy is asked, when the future is made: make it an \
                         `async fn`, or move this into the `async` block";
const NOT_NAMED: &str = "what the future gives is not written here: return `impl Future<Output = …>`, or make \
                         this an `async fn`";

/// How the body of a function that returns `ty` runs; `stmts` is `None` when it does not parse, and
/// `names` are its parameters.
pub(crate) fn shape(ty: &Type, stmts: Option<Vec<Stmt>>, names: Vec<String>) -> Shape {
    let written = output(ty);
    let Some(mut before) = stmts else {
        return match written {
            Some(_) => Shape::Refused(syn::Error::new(ty.span(), NOT_FOUND)),
            None => Shape::Sync,
        };
    };
    let last = before.pop();
    let hidden = last.as_ref().is_some_and(hides_future);
    let Some((pin, block)) = last.and_then(ending) else {
        return match (hidden, written) {
            (true, _) | (_, Some(_)) => Shape::Refused(syn::Error::new(ty.span(), NOT_FOUND)),
            (false, None) => Shape::Sync,
        };
    };
    if let Err(error) = only_rebinds(&before, names) {
        return Shape::Refused(error);
    }
    let output = match written {
        Some(output) => output,
        None if is_opaque(ty) => return Shape::Refused(syn::Error::new(ty.span(), NOT_NAMED)),
        // An alias of a boxed future, or an associated type.
        None => parse_quote_spanned!(ty.span()=> <#ty as ::core::future::Future>::Output),
    };
    Shape::Future(Box::new(Future { before, pin, block, output }))
}

/// The `async` block, and the `Box::pin` it is in.
fn ending(last: Stmt) -> Option<(Option<Expr>, ExprAsync)> {
    match last {
        Stmt::Expr(Expr::Async(block), None) => Some((None, block)),
        // An attribute such as `#[cfg]` would be lost.
        Stmt::Expr(Expr::Call(mut call), None) if call.attrs.is_empty() && is_box_pin(&call.func) => {
            match (call.args.pop()?, call.args.is_empty()) {
                (Expr::Async(block), true) => Some((Some(*call.func), block)),
                _ => None,
            }
        }
        _ => None,
    }
}

fn is_box_pin(func: &Expr) -> bool {
    let Expr::Path(path) = func else { return false };
    let mut last = path.path.segments.iter().rev();
    path.qself.is_none()
        && last.next().is_some_and(|segment| segment.ident == "pin")
        && last.next().is_some_and(|segment| segment.ident == "Box")
}

/// Whether the value is a future all the same, made in a branch or changed after it was made.
fn hides_future(last: &Stmt) -> bool {
    match last {
        Stmt::Expr(Expr::Return(value), _) => value.expr.as_deref().is_some_and(is_future),
        Stmt::Expr(value, None) => is_future(value),
        _ => false,
    }
}

fn is_future(value: &Expr) -> bool {
    let ends = |stmts: &[Stmt]| stmts.last().is_some_and(hides_future);
    match value {
        Expr::Async(_) => true,
        Expr::Call(call) => is_box_pin(&call.func) && call.args.iter().any(is_future),
        Expr::MethodCall(call) => {
            matches!(call.method.to_string().as_str(), "boxed" | "boxed_local") && is_future(&call.receiver)
        }
        Expr::Cast(cast) => is_future(&cast.expr),
        Expr::Group(group) => is_future(&group.expr),
        Expr::Paren(paren) => is_future(&paren.expr),
        Expr::Return(value) => value.expr.as_deref().is_some_and(is_future),
        Expr::Block(block) => ends(&block.block.stmts),
        Expr::Unsafe(block) => ends(&block.block.stmts),
        Expr::If(branch) => {
            ends(&branch.then_branch.stmts)
                || branch.else_branch.as_ref().is_some_and(|(_, other)| is_future(other))
        }
        Expr::Match(branches) => branches.arms.iter().any(|arm| is_future(&arm.body)),
        _ => false,
    }
}

/// Every statement before the future is `let a = b;` with a parameter `b`: it runs no code.
fn only_rebinds(before: &[Stmt], mut names: Vec<String>) -> syn::Result<()> {
    let mut errors: Option<syn::Error> = None;
    for stmt in before {
        if let Some(pat) = rebound(stmt, &names) {
            bindings(pat, &mut names);
            continue;
        }
        let error = syn::Error::new_spanned(stmt, TOO_EARLY);
        match &mut errors {
            Some(first) => first.combine(error),
            None => errors = Some(error),
        }
    }
    errors.map_or(Ok(()), Err)
}

/// The pattern of a `let` without a type, for a type may coerce by `Deref`.
fn rebound<'a>(stmt: &'a Stmt, names: &[String]) -> Option<&'a Pat> {
    let Stmt::Local(Local { pat, init: Some(LocalInit { expr, diverge: None, .. }), .. }) = stmt else {
        return None;
    };
    let Expr::Path(path) = &**expr else { return None };
    let name = path.path.get_ident().filter(|_| path.qself.is_none())?;
    let plain = !matches!(pat, Pat::Type(_)) && names.contains(&name.unraw().to_string());
    plain.then_some(pat)
}

/// Whether the type has an `impl Trait` in it, which no other place can name.
fn is_opaque(ty: &Type) -> bool {
    nameable(ty).to_token_stream().to_string() != ty.to_token_stream().to_string()
}

/// `T` of `impl Future<Output = T>`, `Pin<Box<dyn Future<Output = T>>>` and `BoxFuture<'_, T>`.
fn output(ty: &Type) -> Option<Type> {
    match ty {
        Type::ImplTrait(it) => it.bounds.iter().find_map(bound_output),
        Type::TraitObject(object) => object.bounds.iter().find_map(bound_output),
        Type::Group(group) => output(&group.elem),
        Type::Paren(paren) => output(&paren.elem),
        Type::Path(path) => {
            let segment = path.path.segments.last()?;
            let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
                return None;
            };
            let last = arguments.args.iter().rev().find_map(|argument| match argument {
                GenericArgument::Type(ty) => Some(ty),
                _ => None,
            })?;
            match segment.ident.to_string().as_str() {
                "Pin" | "Box" => output(last),
                "BoxFuture" | "LocalBoxFuture" => Some(last.clone()),
                _ => None,
            }
        }
        _ => None,
    }
}

fn bound_output(bound: &TypeParamBound) -> Option<Type> {
    let TypeParamBound::Trait(bound) = bound else {
        return None;
    };
    let segment = bound.path.segments.last()?;
    if segment.ident != "Future" {
        return None;
    }
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return None;
    };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::AssocType(assoc) if assoc.ident == "Output" => Some(assoc.ty.clone()),
        _ => None,
    })
}
