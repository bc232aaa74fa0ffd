//! When the attribute is wrong: all its errors, and the function as it stands, so that nothing else
//! breaks and an editor still completes inside the body. It can never run: the errors stop the build.

use proc_macro2::TokenStream;
use quote::quote;

use crate::errors::Errors;

/// The errors, then the item untouched.
pub(crate) fn fallback(errors: &Errors, item: &TokenStream) -> TokenStream {
    let errors = errors.to_compile_error();
    quote!(#errors #item)
}
