//! Certificates that speak for workloads: X.509-SVIDs in `x5c`, and the authorities behind them. RFC 5280 §6,
//! SPIFFE X509-SVID §5, spec §13.

mod error;
mod known;
#[cfg(feature = "aws-lc")]
mod order;
#[cfg(feature = "aws-lc")]
mod path;
mod root;
mod window;

pub use self::error::{ChainError, Moment};
pub(super) use self::known::{Known, Leaves, Refusal, SpeaksUntil};
#[cfg(feature = "aws-lc")]
pub use self::order::{chain_needed, chain_order, chain_refused};
pub(super) use self::root::Root;
