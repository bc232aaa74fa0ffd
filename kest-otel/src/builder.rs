//! The settings of telemetry.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kest_core::config::Config;
use kest_core::telemetry::{self, Exporter, PassportAttribute};
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, Sampler, SdkTracerProvider};

use crate::batch::KestSpanProcessor;
use crate::error::{TelemetryError, TelemetryErrorKind};
use crate::exporter;
use crate::setup::KestTelemetry;

/// How a collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// `grpc`; collectors listen on port 4317 by default.
    Grpc,
    /// `http/protobuf`; on port 4318.
    HttpProtobuf,
}

/// Settings of [`KestTelemetry`]. Made by [`KestTelemetry::builder`].
///
/// What is not said here is as the variables `OTEL_…` of the environment say it, as far as the OpenTelemetry SDK knows
/// them: sampler, sizes of queue and batches, resource attributes, headers, and the endpoint.
#[derive(Clone, Default)]
#[must_use]
pub struct TelemetryBuilder {
    pub(crate) service_name: Option<String>,
    pub(crate) exporter: Option<Exporter>,
    pub(crate) endpoint: Option<String>,
    /// Where relative paths begin.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) headers_in_plain_text: bool,
    pub(crate) roots_pem: Option<Vec<u8>>,
    pub(crate) timeout: Option<Duration>,
    queue: Option<usize>,
    batch: Option<usize>,
    delay: Option<Duration>,
    shutdown_limit: Option<Duration>,
    sampling: Option<f64>,
    attributes: Vec<(String, String)>,
    passport: Option<PassportAttribute>,
}

impl TelemetryBuilder {
    /// What `[telemetry]` of a configuration says. `None` where it names no exporter.
    ///
    /// Paths are relative to the configuration file.
    pub fn from_config(config: &Config) -> Option<Self> {
        let exporter = config.telemetry.exporter?;
        Some(Self {
            exporter: Some(exporter),
            service_name: config.telemetry.service_name.clone(),
            endpoint: config.telemetry.endpoint.clone(),
            folder: config.path.as_deref().and_then(Path::parent).map(Path::to_path_buf),
            ..Self::default()
        })
    }

    /// `service.name` of the spans' resource. Required by [`Self::install`].
    pub fn service_name(mut self, name: impl Into<String>) -> Self {
        self.service_name = Some(name.into());
        self
    }

    /// Where spans go: an [`Exporter`], or its name.
    ///
    /// # Errors
    /// When no exporter has this name.
    pub fn exporter<E>(mut self, exporter: E) -> Result<Self, TelemetryError>
    where
        E: TryInto<Exporter>,
        E::Error: Into<TelemetryError>,
    {
        self.exporter = Some(exporter.try_into().map_err(Into::into)?);
        Ok(self)
    }

    /// The collector's URL, or the path of the file.
    ///
    /// A URL without a path gets `/v1/traces` where HTTP is spoken. Left away, it is that of
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or `OTEL_EXPORTER_OTLP_ENDPOINT`, or this machine's usual port.
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// How the collector is spoken to. Left away, it is what `OTEL_EXPORTER_OTLP_TRACES_PROTOCOL` or
    /// `OTEL_EXPORTER_OTLP_PROTOCOL` says; else HTTP where the endpoint has the port 4318 or a path, and gRPC elsewhere.
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// A header for the collector, such as a token. Only over `https`, or to this machine.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Certificates that a collector's certificate must lead to, in PEM, instead of those of the system.
    pub fn roots_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots_pem = Some(pem.into());
        self
    }

    /// How long a batch may take on its way to the collector, with all attempts. Default: 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How many spans wait at most. Default: 2,048. Those that find no room are dropped and counted.
    pub fn queue(mut self, spans: usize) -> Self {
        self.queue = Some(spans);
        self
    }

    /// How many spans go at once at most. Default: 512.
    pub fn batch(mut self, spans: usize) -> Self {
        self.batch = Some(spans);
        self
    }

    /// How long a span waits for others at most. Default: 5 s, on the console 200 ms.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// How long the end of the program may wait for the last spans. Default: 5 s.
    pub fn shutdown_limit(mut self, limit: Duration) -> Self {
        self.shutdown_limit = Some(limit);
        self
    }

    /// The part of traces that are recorded, 0.0 to 1.0. What a caller has decided for its trace holds here too.
    pub fn sampling(mut self, ratio: f64) -> Self {
        self.sampling = Some(ratio);
        self
    }

    /// An attribute of the spans' resource, such as `deployment.environment.name`.
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.push((name.into(), value.into()));
        self
    }

    /// Which spans have `kest.passport`, where neither a `Kest` nor its configuration says so.
    pub fn passport(mut self, passport: PassportAttribute) -> Self {
        self.passport = Some(passport);
        self
    }

    /// Settings that weaken something.
    pub fn dangerous(self) -> DangerousTelemetry {
        DangerousTelemetry(self)
    }

    /// Makes a tracer provider, and makes it that of the process. Where the process has no propagator of its own, the
    /// W3C trace context goes along with calls to other services.
    ///
    /// # Errors
    /// See [`KestTelemetry::setup`]; without a service name; and on settings that cannot be.
    pub fn install(self) -> Result<KestTelemetry, TelemetryError> {
        let name = match self.service_name.as_deref().map(str::trim) {
            Some(name) if !name.is_empty() => name.to_owned(),
            Some(_) | None => {
                return Err(setting("no service name; spans must say whose they are: `.service_name(…)`"));
            }
        };
        let sampler = match self.sampling {
            None => None,
            Some(ratio) if (0.0..=1.0).contains(&ratio) => {
                Some(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
            }
            Some(ratio) => return Err(setting(format!("a sampling ratio of {ratio}; use 0.0 to 1.0"))),
        };
        let limit = self.shutdown_limit.unwrap_or(Duration::from_secs(5));
        let build = move || {
            let attributes = self.attributes.iter().map(|(k, v)| KeyValue::new(k.clone(), v.clone()));
            let resource = Resource::builder().with_attributes(attributes).with_service_name(name).build();
            let processor = self.span_processor()?;
            let watch = processor.watch();
            let mut provider =
                SdkTracerProvider::builder().with_resource(resource).with_span_processor(processor);
            if let Some(sampler) = sampler {
                provider = provider.with_sampler(sampler);
            }
            Ok((provider.build(), watch))
        };
        KestTelemetry::install(build, limit)
    }

    /// The exporter as part of a tracer provider of one's own, which decides about sampling, resource and shutdown:
    /// `SdkTracerProvider::builder().with_span_processor(…)`. It gets the spans of other sources too.
    ///
    /// # Errors
    /// See [`KestTelemetry::setup`]; and on settings that cannot be.
    pub fn span_processor(self) -> Result<KestSpanProcessor, TelemetryError> {
        let Some(kind) = self.exporter else {
            return Err(setting("no exporter; use `otlp`, `file`, `sqlite` or `console`: `.exporter(…)?`"));
        };
        for (what, size) in [("queue", self.queue), ("batch", self.batch)] {
            if size == Some(0) {
                return Err(setting(format!("a {what} of no spans; give it room for one at least")));
            }
        }
        let mut config = BatchConfigBuilder::default();
        if let Some(queue) = self.queue {
            config = config.with_max_queue_size(queue).with_max_export_batch_size(queue.min(512));
        }
        if let Some(batch) = self.batch {
            config = config.with_max_export_batch_size(batch);
        }
        match (self.delay, kind) {
            (Some(delay), _) => config = config.with_scheduled_delay(delay),
            (None, Exporter::Console) => config = config.with_scheduled_delay(Duration::from_millis(200)),
            (None, _) => {}
        }
        let passport = self.passport;
        let processor = exporter::open(kind, self, config.build())?;
        if let Some(passport) = passport {
            telemetry::set_passport_attribute(passport);
        }
        Ok(processor)
    }
}

impl fmt::Debug for TelemetryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("TelemetryBuilder")
            .field("service_name", &self.service_name)
            .field("exporter", &self.exporter)
            .field("protocol", &self.protocol)
            .field("headers", &headers)
            .field("sampling", &self.sampling)
            .finish_non_exhaustive()
    }
}

/// Settings that weaken something. Each is named for what it gives up.
#[derive(Debug)]
#[must_use]
pub struct DangerousTelemetry(TelemetryBuilder);

impl DangerousTelemetry {
    /// Sends headers over plain `http` to other machines too: whoever is on the way can read a token in them.
    pub fn headers_in_plain_text(mut self) -> TelemetryBuilder {
        self.0.headers_in_plain_text = true;
        self.0
    }
}

pub(crate) fn setting(message: impl Into<String>) -> TelemetryError {
    TelemetryError::new(TelemetryErrorKind::Setting, message)
}
