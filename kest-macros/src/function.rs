//! The item under the attribute. Its body stays as tokens, so that one that is being typed still
//! reaches the compiler and the editor.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream, Parser as _};
use syn::spanned::Spanned as _;
use syn::{
    Attribute, Block, FnArg, GenericArgument, Pat, PathArguments, ReturnType, Signature, Token, Type,
    Visibility,
};

use crate::future::{self, Future};

/// A function with a body.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    /// The body's `#![…]`.
    pub(crate) inner: Vec<Attribute>,
    pub(crate) body: TokenStream,
    pub(crate) body_span: Span,
}

/// How the body runs.
#[derive(Debug)]
pub(crate) enum Shape {
    Sync,
    Async,
    /// A future made by hand or by `#[async_trait]`, and what it gives.
    Future(Box<Future>),
    /// A future of which some part would run outside the hook.
    Refused(syn::Error),
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis: Visibility = input.parse()?;
        if let Some(message) = not_a_function(&input.fork()) {
            return Err(syn::Error::new(input.span(), message));
        }
        let sig: Signature = input.parse()?;
        if input.peek(Token![;]) {
            input.parse::<TokenStream>()?;
            return Err(syn::Error::new(
                sig.ident.span(),
                "a declaration without a body cannot be verified; put the attribute on its implementations",
            ));
        }
        let block = braces(input)?;
        let split =
            |input: ParseStream<'_>| Ok((input.call(Attribute::parse_inner)?, input.parse::<TokenStream>()?));
        let (inner, body) = split.parse2(block.stream())?;
        Ok(Self { attrs, vis, sig, inner, body, body_span: block.span() })
    }
}

/// What the item is, when its first keyword says that it is no function.
fn not_a_function(input: ParseStream<'_>) -> Option<String> {
    let first: Ident = input.call(Ident::parse_any).ok()?;
    let next = input.call(Ident::parse_any).map(|ident| ident.to_string()).unwrap_or_default();
    let what = match (first.to_string().as_str(), next.as_str()) {
        ("impl", _) | ("unsafe", "impl") => "an `impl` block; put it on each method",
        ("trait", _) | ("unsafe", "trait") => "a trait; put it on the methods of its implementations",
        ("struct", _) => "a struct",
        ("enum", _) => "an enum",
        ("union", _) => "a union",
        ("mod", _) => "a module; put it on each function",
        ("const", "async" | "unsafe" | "extern" | "fn") => return None,
        ("const", _) => "a constant",
        ("static", _) => "a static",
        ("type", _) => "a type alias",
        ("use", _) => "an import",
        ("let", _) => "a statement",
        _ => return None,
    };
    Some(format!("`#[kest_verified]` goes on a function, and this is {what}"))
}

/// The body's braces, also out of a `$body:block`.
fn braces(input: ParseStream<'_>) -> syn::Result<Group> {
    let mut tree: TokenTree = input.parse()?;
    loop {
        match tree {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return Ok(group),
            TokenTree::Group(group) if group.delimiter() == Delimiter::None => {
                match group.stream().into_iter().next() {
                    Some(first) => tree = first,
                    None => {
                        return Err(syn::Error::new(group.span(), "expected the body of the function"));
                    }
                }
            }
            other => {
                return Err(syn::Error::new(other.span(), "expected the body of the function"));
            }
        }
    }
}

impl Function {
    /// Every name its parameters bind.
    pub(crate) fn parameters(&self) -> Vec<String> {
        let mut names = Vec::new();
        for input in &self.sig.inputs {
            if let FnArg::Typed(typed) = input {
                bindings(&typed.pat, &mut names);
            }
        }
        names
    }

    /// How the body runs, told from the signature and the last expression.
    pub(crate) fn shape(&self) -> Shape {
        if self.sig.asyncness.is_some() {
            return Shape::Async;
        }
        let ReturnType::Type(_, ty) = &self.sig.output else {
            return Shape::Sync;
        };
        let mut names = self.parameters();
        names.push("self".to_owned());
        future::shape(ty, Block::parse_within.parse2(self.body.clone()).ok(), names)
    }

    /// Where messages about the return type go.
    pub(crate) fn return_span(&self) -> Span {
        match &self.sig.output {
            ReturnType::Type(_, ty) => ty.span(),
            ReturnType::Default => self.sig.ident.span(),
        }
    }
}

/// Every name that a pattern binds.
pub(crate) fn bindings(pat: &Pat, names: &mut Vec<String>) {
    match pat {
        Pat::Ident(ident) => {
            names.push(ident.ident.unraw().to_string());
            if let Some((_, inner)) = &ident.subpat {
                bindings(inner, names);
            }
        }
        Pat::Paren(paren) => bindings(&paren.pat, names),
        Pat::Reference(reference) => bindings(&reference.pat, names),
        Pat::Tuple(tuple) => tuple.elems.iter().for_each(|elem| bindings(elem, names)),
        Pat::TupleStruct(tuple) => tuple.elems.iter().for_each(|elem| bindings(elem, names)),
        Pat::Slice(slice) => slice.elems.iter().for_each(|elem| bindings(elem, names)),
        Pat::Struct(fields) => fields.fields.iter().for_each(|field| bindings(&field.pat, names)),
        Pat::Or(or) => or.cases.iter().for_each(|case| bindings(case, names)),
        Pat::Type(typed) => bindings(&typed.pat, names),
        _ => {}
    }
}

/// The type as a `let` may name it: `impl Trait` becomes `_`.
pub(crate) fn nameable(ty: &Type) -> Type {
    let mut ty = ty.clone();
    erase(&mut ty);
    ty
}

fn erase(ty: &mut Type) {
    match ty {
        Type::ImplTrait(it) => *ty = Type::Verbatim(quote::quote_spanned!(it.span()=> _)),
        Type::Array(array) => erase(&mut array.elem),
        Type::Group(group) => erase(&mut group.elem),
        Type::Paren(paren) => erase(&mut paren.elem),
        Type::Ptr(ptr) => erase(&mut ptr.elem),
        Type::Reference(reference) => erase(&mut reference.elem),
        Type::Slice(slice) => erase(&mut slice.elem),
        Type::Tuple(tuple) => tuple.elems.iter_mut().for_each(erase),
        Type::Path(path) => {
            for segment in &mut path.path.segments {
                let PathArguments::AngleBracketed(arguments) = &mut segment.arguments else {
                    continue;
                };
                for argument in &mut arguments.args {
                    match argument {
                        GenericArgument::Type(ty) => erase(ty),
                        GenericArgument::AssocType(assoc) => erase(&mut assoc.ty),
                        _ => {}
                    }
                }
            }
        }
        _ => {}
    }
}
