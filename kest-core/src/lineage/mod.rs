//! Lineage scopes: the DAG comes from the code's own structure. Spec §5.
//!
//! A hook reads the tips of the scope it runs in, signs its entry with those as parents, and runs the
//! body in a scope of its own; when the body ends, the tips flow back. Nested calls chain from outer to
//! inner, sequential calls from first to second, calls that overlap fork, and the next call joins them.

mod branch;
mod context;
mod inside;
mod join;
mod outgoing;
mod root;
pub(crate) mod scope;
#[cfg(feature = "tokio")]
mod spawn;

pub use branch::{InLineage, Lineage, LineageExt, LineageGuard};
pub(crate) use context::{Member, baggage_identity, effective_identity};
pub use context::{
    OnBehalfOf, WithIdentity, get_current_agent, get_current_jwt, get_current_passport, get_current_task,
    get_current_user, with_agent, with_task, with_user,
};
pub use join::MaybeDone;
pub use outgoing::{Jwt, Outgoing};
pub use root::{ScopeGuard, Scoped, ScopedWithPassport, root, root_with_passport, scope, with_jwt};
#[cfg(feature = "tokio")]
pub use spawn::{JoinHandle, spawn};
