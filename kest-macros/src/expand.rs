//! What the attribute becomes: as little code as can be, the work is in `kest::__private`.
//!
//! The body is never passed by value through an `async fn`, which would double its future at each
//! level of nesting; and it is spliced statement by statement, for a block around a block would
//! raise `unused_braces` in the user's code.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{Expr, Ident, ReturnType, Type};

use crate::args::bare;
use crate::function::{Function, Shape, nameable};
use crate::future::Future;
use crate::validate::{Call, Setter};

/// The function with its hook.
pub(crate) fn expand(function: &Function, call: &Call) -> TokenStream {
    let Function { attrs, vis, sig, inner, body, body_span } = function;
    let private = private(call);
    let statics = statics(call);
    let invocation = invocation(function, call, &private);
    let output = match &sig.output {
        ReturnType::Type(_, ty) => Some(&**ty),
        ReturnType::Default => None,
    };
    let hooked = match function.shape() {
        Shape::Sync => {
            let body = braced(&edge(output), body.clone(), *body_span);
            let answer =
                Answer { call, private: &private, output, span: pointing_at(function.return_span()) };
            let run = answer.sync(&body);
            quote!(#statics #invocation #run)
        }
        // INVARIANT: nothing is expanded when `validate` has reported a refused future.
        Shape::Async | Shape::Refused(_) => {
            let body = braced(&edge(output), body.clone(), *body_span);
            let answer =
                Answer { call, private: &private, output, span: pointing_at(function.return_span()) };
            let run = answer.asynchronous(&quote!(async move #body));
            quote!(#statics #invocation #run)
        }
        Shape::Future(future) => {
            let Future { before, pin, block, output } = &*future;
            let (attrs, capture) = (&block.attrs, &block.capture);
            let stmts = block.block.stmts.iter().map(ToTokens::to_token_stream).collect();
            let body = braced(&edge(Some(output)), stmts, block.block.brace_token.span.join());
            let answer =
                Answer { call, private: &private, output: Some(output), span: pointing_at(output.span()) };
            let run = answer.asynchronous(&quote!(async #capture #body));
            let block = quote!(#(#attrs)* async #capture { #statics #invocation #run });
            match pin {
                Some(pin) => quote!(#(#before)* #pin(#block)),
                None => quote!(#(#before)* #block),
            }
        }
    };
    quote!(#(#attrs)* #vis #sig { #(#inner)* #hooked })
}

fn private(call: &Call) -> TokenStream {
    match &call.path {
        Some(path) => quote!(#path::__private),
        None => quote!(::kest::__private),
    }
}

/// The same tokens; what the compiler says of them points at `span`.
fn located(tokens: &TokenStream, span: Span) -> TokenStream {
    let locate = |mut token: TokenTree| {
        token.set_span(token.span().located_at(span));
        token
    };
    tokens.clone().into_iter().map(locate).collect()
}

/// The names within the expansion, which the user's code cannot see.
fn hidden(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

/// The macro's own context, but what the compiler says points at `span`.
///
/// Two errors of one cause are shown once only if their spans are the same in both.
fn pointing_at(span: Span) -> Span {
    Span::call_site().located_at(span)
}

/// Makes cargo rebuild when a file or the variable the macro read changes or goes.
fn statics(call: &Call) -> TokenStream {
    // INVARIANT: `Catalog` refuses to read a path that is not UTF-8.
    let files = call.reads.iter().filter_map(|path| path.to_str());
    quote! {
        const _: ::core::option::Option<&'static ::core::primitive::str> = ::core::option_env!("KEST_CONFIG");
        #(const _: &'static [::core::primitive::u8] = ::core::include_bytes!(#files);)*
    }
}

fn invocation(function: &Function, call: &Call, private: &TokenStream) -> TokenStream {
    let name = function.sig.ident.unraw().to_string();
    let operation = call.operation.as_ref().unwrap_or(&name);
    let span = format!("kest.verified.{operation}");
    let Call { policies, added_taints, removed_taints, sanitizer, .. } = call;
    let classification =
        call.classification.as_deref().unwrap_or(if *sanitizer { "sanitizer" } else { "system" });
    let (label_names, label_values): (Vec<&String>, Vec<&String>) =
        call.labels.iter().map(|(k, v)| (k, v)).unzip();
    let source_type = option(call.source_type.as_ref());
    let trust_override = option(call.trust_override);
    let config_seen = option(call.config_seen.as_ref());
    let setters = call.setters.iter().map(setter);
    let called = call.setters.iter().any(|setter| matches!(bare(&setter.value), Expr::Closure(_)));
    let allow = called.then(|| {
        quote! {
            #[allow(clippy::redundant_closure, clippy::redundant_closure_call, reason = "a closure as a value is called")]
        }
    });
    let invocation = hidden("__kest_invocation");
    quote! {
        #allow
        let #invocation = {
            static __KEST_CALL: #private::CallSpec = #private::CallSpec {
                operation: #operation,
                span: #span,
                function: ::core::concat!(::core::module_path!(), "::", #name),
                policies: &[#(#policies),*],
                classification: #classification,
                source_type: #source_type,
                added_taints: &[#(#added_taints),*],
                removed_taints: &[#(#removed_taints),*],
                trust_override: #trust_override,
                sanitizer: #sanitizer,
                labels: &[#((#label_names, #label_values)),*],
                config_seen: #config_seen,
            };
            #private::Invocation::new(&__KEST_CALL)
        }
        #(#setters)*;
    }
}

fn option<T: ToTokens>(value: Option<T>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}

/// `.user(&(value))`: the parentheses keep a `macro_rules!` fragment whole.
fn setter(setter: &Setter) -> TokenStream {
    let Setter { method, name, value, by_ref } = setter;
    let span = value.span();
    let method = Ident::new(method, span);
    let name = name.iter();
    let called = match bare(value) {
        Expr::Closure(_) => Some(quote_spanned!(span=> ())),
        _ => None,
    };
    let value = match (by_ref, called) {
        (true, Some(called)) => quote_spanned!(span=> &((#value)#called)),
        (true, None) => quote_spanned!(span=> &(#value)),
        (false, Some(called)) => quote_spanned!(span=> (#value)#called),
        (false, None) => value.to_token_stream(),
    };
    quote_spanned!(span=> .#method(#(#name,)* #value))
}

/// A return that never happens, which tells the compiler the type of the body at its start, so
/// that its type errors are the user's own and `impl Trait` is inferred from the body alone.
fn edge(output: Option<&Type>) -> TokenStream {
    let Some(output) = output else {
        return TokenStream::new();
    };
    let ty = nameable(output);
    let value = Ident::new("__kest_return", Span::mixed_site().located_at(output.span()));
    quote_spanned! {output.span()=>
        if let ::core::option::Option::Some(#value) = ::core::option::Option::None::<#ty> {
            return #value;
        }
    }
}

fn braced(edge: &TokenStream, body: TokenStream, span: Span) -> TokenTree {
    let mut group = Group::new(Delimiter::Brace, quote!(#edge #body));
    group.set_span(span);
    group.into()
}

/// How the caller is answered: with the body's value or with the denial.
struct Answer<'a> {
    call: &'a Call,
    private: &'a TokenStream,
    output: Option<&'a Type>,
    span: Span,
}

impl Answer<'_> {
    fn sync(&self, body: &TokenTree) -> TokenStream {
        let (invocation, live) = (hidden("__kest_invocation"), hidden("__kest_live"));
        if self.call.record_output {
            let (run, denied, ty) = (self.private("call_sync_recorded"), self.denied(), self.ty());
            return quote!(#run::<#ty>(#invocation, #denied, move || #body));
        }
        let (run, ty, is_error) = (self.private("run_in_scope"), self.ty(), self.is_error());
        self.answer(&self.private("begin_sync"), None, &quote!(#run::<#ty>(#live, #is_error, move || #body)))
    }

    fn asynchronous(&self, body: &TokenStream) -> TokenStream {
        let live = hidden("__kest_live");
        let run = if self.call.record_output {
            let (run, denied) = (self.private("in_scope_recorded"), self.denied());
            quote_spanned!(self.span=> #run(#live, #denied, #body))
        } else {
            let (run, is_error) = (self.private("in_scope"), self.is_error());
            quote_spanned!(self.span=> #run(#live, #is_error, #body))
        };
        self.answer(&self.private("begin"), Some(&quote!(.await)), &quote!(#run.await))
    }

    /// Begins the call, then answers with its denial or runs it. The two stand in arms of their own,
    /// so that `on_denied` may use up what the body uses up.
    fn answer(&self, begin: &TokenStream, wait: Option<&TokenStream>, run: &TokenStream) -> TokenStream {
        let (invocation, live) = (hidden("__kest_invocation"), hidden("__kest_live"));
        let (error, denied, ty) = (Ident::new("__kest_error", self.span), self.denied(), self.ty());
        let refused = match &self.call.on_denied {
            // A function with a bound on its closure, so that the closure's argument has a type.
            Some(_) => quote! {
                ::core::result::Result::<#ty, _>::unwrap_or_else(::core::result::Result::Err(#error), #denied)
            },
            None => {
                let refuse = self.private("Denied::denied");
                quote_spanned!(self.span=> #refuse(#error))
            }
        };
        quote! {
            match #begin(#invocation)#wait {
                ::core::result::Result::Err(#error) => #refused,
                ::core::result::Result::Ok(#live) => #run,
            }
        }
    }

    /// A path in `__private` whose errors are about the return type.
    fn private(&self, path: &str) -> TokenStream {
        let mut tokens = located(self.private, self.span);
        for name in path.split("::") {
            let name = Ident::new(name, self.span);
            tokens.extend(quote_spanned!(self.span=> ::#name));
        }
        tokens
    }

    /// The return type, so that a wrong `on_denied` is an error in its own text.
    fn ty(&self) -> TokenStream {
        self.output.map_or_else(|| quote!(()), |ty| nameable(ty).to_token_stream())
    }

    fn denied(&self) -> TokenStream {
        match &self.call.on_denied {
            Some(closure) => closure.to_token_stream(),
            // A bare path would report a wrong return type twice.
            None => {
                let (error, refuse) = (Ident::new("__kest_error", self.span), self.private("Denied::denied"));
                quote_spanned!(self.span=> |#error| #refuse(#error))
            }
        }
    }

    fn is_error(&self) -> TokenStream {
        let value = Ident::new("__kest_value", self.span);
        match &self.call.on_denied {
            None => {
                let is_error = self.private("Denied::is_error");
                quote_spanned!(self.span=> |#value| #is_error(#value))
            }
            Some(_) if self.output.is_some_and(is_result) => {
                quote!(|#value| ::core::result::Result::is_err(#value))
            }
            Some(_) => quote!(|_| false),
        }
    }
}

fn is_result(ty: &Type) -> bool {
    match ty {
        Type::Group(group) => is_result(&group.elem),
        Type::Paren(paren) => is_result(&paren.elem),
        Type::Path(path) => path.path.segments.last().is_some_and(|segment| segment.ident == "Result"),
        _ => false,
    }
}
