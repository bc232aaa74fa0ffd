//! Spans of Kest's calls: to a console, a file, SQLite, or an OpenTelemetry collector. Spec §14.
//!
//! Spans are for watching: they can be sampled, and lost where an exporter is slow. What proves is the passport, and
//! what keeps it is an audit sink.
//!
//! ```
//! use kest_otel::KestTelemetry;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let path = std::env::temp_dir().join(format!("kest-otel-doc-{}.jsonl", std::process::id()));
//! # let path = path.to_str().ok_or("no path")?;
//! // Also `("shop", "otlp", "http://127.0.0.1:4317")`, `("shop", "console", None)`.
//! let telemetry = KestTelemetry::setup("shop", "file", path)?;
//! // … the program …
//! let counts = telemetry.shutdown()?; // so does dropping it, without saying how many were lost
//! assert_eq!(counts.lost(), 0);
//! # std::fs::remove_file(path)?;
//! # Ok(())
//! # }
//! ```
//!
//! [`KestTelemetry::builder`] has the other settings. A program with a tracer provider of its own adds
//! [`TelemetryBuilder::span_processor`] to it; `docs/telemetry.md` in the repository is the guide.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `otlp` | to an OpenTelemetry collector, by gRPC or HTTP |
//! | `sqlite` | to a SQLite file |

mod batch;
mod builder;
mod error;
mod exporter;
mod setup;

pub use batch::{KestSpanProcessor, SpanCounts, SpanWatch};
pub use builder::{DangerousTelemetry, Protocol, TelemetryBuilder};
pub use error::{TelemetryError, TelemetryErrorKind};
pub use kest_core::telemetry::{Exporter, PassportAttribute};
pub use setup::KestTelemetry;
