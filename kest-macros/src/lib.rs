//! The attribute `#[kest_verified]` of Kest. Use it as `kest::kest_verified`.

mod args;
mod catalog;
mod config;
mod errors;
mod expand;
mod fallback;
mod function;
mod future;
mod literals;
mod policy_names;
mod validate;

use proc_macro2::{Span, TokenStream};

use crate::catalog::{Catalog, Environment};
use crate::errors::Errors;
use crate::function::Function;

/// Protects a function: each call of it has an identity, is allowed by policy, signed and recorded,
/// and only then runs. Spec §6, §7.
///
/// ```ignore
/// use kest::kest_verified;
///
/// #[kest_verified(
///     policy = "kest/allow_trusted",
///     source_type = "user_input",
///     user = current_user(),
///     task = format!("order-{id}"),
///     resource_id = id,
///     hash_input(id, amount),
/// )]
/// async fn process_order(id: &str, amount: u64) -> Result<Receipt, AppError> {
///     charge(id, amount).await
/// }
/// ```
///
/// It goes on free functions and methods, sync and async, generic or not, also under
/// `#[async_trait]` and beside `#[tracing::instrument]` in either order. For a stream wrap what the
/// function returns with `.in_lineage()`.
///
/// # Functions that return a future
///
/// A function that is not `async` and whose body ends in `async move { … }` or
/// `Box::pin(async move { … })` is verified when the future runs: each line of the `async` block waits
/// for the policy, and making the future signs nothing. Before the block only other names for
/// parameters may stand (`let a = b;`); anything else would run before the policy is asked, and is a
/// compile error. The return type may be `impl Future<Output = T>`, `Pin<Box<dyn Future<Output = T>>>`,
/// `BoxFuture<'_, T>`, or any name for a boxed future, such as an alias or `Self::Future`.
///
/// Whether a function returns a future is told from what is written, for a macro sees no types. When
/// the return type is an *alias* of a future (or has one inside, as in `Result<impl Future, E>`) and
/// the body ends in something else, such as a call of another function, the function is taken for a
/// synchronous one: policy is asked and the entry signed when the future is *made*, and the future
/// then runs outside the scope of the call, so that what it calls is no child of it, and `on_denied`
/// gives a future. Write an `async fn` that awaits it instead.
///
/// # Arguments
///
/// Values are expressions, evaluated at each call in the function's own scope before anything else:
/// they see its parameters and `self`, may use `?` and, in an `async fn`, `.await`. A closure
/// literal (`user = || current_user()`) is called. Expressions for `operation`, `classification`,
/// `source_type`, a label or the taints are taken by value: lend them (`&name`) what the body needs.
///
/// | argument | value | |
/// |---|---|---|
/// | `policy` | `"a/b"`, `["a/b", "c/d"]` or `unchecked(expr)` | required; all must allow. Literals are checked against the policy catalog, `unchecked` names at run time |
/// | `source_type`, or `origin` | a source | where the data comes from; gives a root its trust score |
/// | `user`, `agent`, `task` | anything `Serialize` | on whose behalf; else inherited from the enclosing call |
/// | `resource_id` | a string or a number | what is acted on |
/// | `resource_attr` | anything `Serialize` | its attributes |
/// | `added_taints`, `removed_taints` | `["a", "b"]` or an expression | removing needs `sanitizer` or `trust_override` |
/// | `trust_override` | 0–100 | sets the score, and is recorded |
/// | `sanitizer` | flag | declares that taints are removed on purpose; the classification becomes `sanitizer` unless one is given |
/// | `operation` | a string | else the function's name |
/// | `classification` | a string | else `system` |
/// | `labels` | `{"team": "risk"}` | `principal`, `trace_id` and `kest.*` are Kest's own |
/// | `engine`, `identity`, `trust_evaluator` | an expression | for this call; `engine` judges the function's own policies alone |
/// | `hash_input(a, b)` | names of parameters | their hash goes into the entry |
/// | `record_output` | flag | adds a second entry with the hash of the `Ok` value |
/// | `on_denied` | `\|error\| …` | makes the return value when the call is refused |
/// | `crate` | a path | when `kest` has another name |
///
/// # Return type
///
/// `Result<T, E>` with `E: From<kest::Error>`. For any other, `on_denied` gives the value the caller
/// gets instead. With `record_output` it may be called after the body ran, when the second entry
/// could not be made: look at `Error::already_executed`. A closure for `on_denied` may use the
/// parameters; with `record_output`, only those that are `Copy` or borrowed, for the body owns the others.
///
/// # Checked at compile time
///
/// Names and types of the arguments, policy names, the `package` of Rego files, source types, the
/// range of `trust_override`, taints, labels and the function itself. All errors of an attribute are
/// reported at once, and the function stays in place, so that an editor still completes in its body.
///
/// # The policy catalog
///
/// The file that `KEST_CONFIG` names when compiling (a relative path starts at the workspace root),
/// else the nearest `kest.toml` from the package up to the workspace root:
///
/// ```toml
/// [policies]
/// dir = "policies"          # relative to this file
/// known = ["remote/quota"]  # policies that are no files here
/// ```
///
/// Without one, a `policies` folder beside the package's or the workspace's `Cargo.toml`. The policy
/// `kest/allow_trusted` is `policies/kest/allow_trusted.rego` with `package kest.allow_trusted`, or
/// `policies/kest/allow_trusted.cedar`, or an entry of `kest-policies.lock` beside `kest.toml`.
/// `policy_check = "off"` in `[policies]` turns the check off for all that the file governs.
///
/// Cargo rebuilds when a file that was read, or the variable, changes or goes. It cannot notice a
/// *new*, nearer `kest.toml`, or a first `kest-policies.lock`; where that matters, a `build.rs` says so:
///
/// ```ignore
/// fn main() {
///     println!("cargo::rerun-if-changed=kest.toml");
///     println!("cargo::rerun-if-changed=build.rs");
/// }
/// ```
#[proc_macro_attribute]
pub fn kest_verified(
    attribute: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    verified(attribute.into(), item.into(), Environment::current()).into()
}

fn verified(
    attribute: TokenStream,
    item: TokenStream,
    environment: Result<Environment, String>,
) -> TokenStream {
    let mut errors = Errors::default();
    let args = args::parse(attribute, &mut errors);
    let function: Function = match syn::parse2(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            errors.add(error);
            return fallback::fallback(&errors, &item);
        }
    };
    let catalog = environment.and_then(|environment| Catalog::load(&environment));
    if let Err(message) = &catalog {
        errors.push(Span::call_site(), message);
    }
    let call = validate::validate(args, &function, catalog.ok(), &mut errors);
    if errors.is_empty() { expand::expand(&function, &call) } else { fallback::fallback(&errors, &item) }
}

#[cfg(test)]
mod tests;
