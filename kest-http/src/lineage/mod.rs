//! `LineageLayer`: a service that goes on with the lineage of its callers. Spec §12.

mod info;
mod layer;
mod returning;
mod service;

pub use self::info::{LineageInfo, Standing};
pub use self::layer::{DangerousLineageLayerBuilder, LineageLayer, LineageLayerBuilder};
pub(crate) use self::returning::{LINEAGE, Owed, Returning, UNCHANGED};
pub use self::service::LineageService;
