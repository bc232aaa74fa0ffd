//! Where passports wait that are too large for a header. Spec §12.
//!
//! - [`MemoryCache`]: in this process, bounded.
//! - `RedisCache`: on Redis or Valkey, shared with other services, with the feature `redis`.

mod memory;
#[cfg(feature = "redis")]
mod redis;

pub use self::memory::MemoryCache;
#[cfg(feature = "redis")]
pub use self::redis::{RedisCache, RedisCacheBuilder};
