//! The propagator of OpenTelemetry that writes and reads lineage. Spec §12.

use std::fmt;

use kest_core::error::{PropagationError, PropagationErrorKind};
use kest_core::lineage::Outgoing;
use opentelemetry::Context;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};

use crate::wire::{Arrived, Parcel, Wire, foreign_member, without_private};

const BAGGAGE: &str = "baggage";

/// Writes the lineage of the calling code into carriers, and reads it from them.
///
/// For instrumentation that speaks OpenTelemetry and nothing else. Where a layer of this crate fits, take that: a
/// propagator can return no error, does not verify, knows no host, and blocks while a claim check is kept or fetched.
///
/// # Beside other propagators
///
/// A propagator replaces a header that another one wrote, and a carrier cannot be read while it is written. So do not
/// put this one beside a `BaggagePropagator` into a `TextMapCompositePropagator`: whichever comes last would win. Put
/// it [around](Self::around) it, or around the whole composite:
///
/// ```
/// use kest_http::{Wire, propagator::KestPropagator};
/// use opentelemetry::propagation::TextMapCompositePropagator;
///
/// let others = TextMapCompositePropagator::new(vec![/* TraceContextPropagator, BaggagePropagator, … */]);
/// let propagator = KestPropagator::new(Wire::default()).around(others).any_host();
/// # let _ = propagator;
/// ```
///
/// Then the header has the members of both, whatever the order. Alone it writes the members of OpenTelemetry Baggage
/// too, as a `BaggagePropagator` would, and reads none into it.
///
/// # Out
///
/// What [`Outgoing::capture_in`] gives in the context that is injected, or the [`Parcel`] that somebody put into it. A
/// propagator does not know to whom a carrier goes, so it writes a captured lineage only under [`Self::any_host`]; a
/// parcel was put there for this call. The token goes along only under [`Self::send_jwt`]. If anything fails, no
/// member of kest is written, and a warning is logged: the callee begins a new lineage. [`Self::try_inject`] says so.
///
/// # In
///
/// The context gets what [`arrived`] returns, unverified, or why there is none.
pub struct KestPropagator {
    wire: Wire,
    inner: Option<Box<dyn TextMapPropagator + Send + Sync>>,
    hosts: Hosts,
    token: Token,
    fields: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hosts {
    Unnamed,
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Kept,
    Sent,
}

impl KestPropagator {
    /// A propagator that reads, and writes parcels alone.
    #[must_use]
    pub fn new(wire: Wire) -> Self {
        Self {
            wire,
            inner: None,
            hosts: Hosts::Unnamed,
            token: Token::Kept,
            fields: vec![BAGGAGE.to_owned()],
        }
    }

    /// Lets another propagator write and read first. Of `baggage` it sees no member of kest but `kest.user`,
    /// `kest.agent` and `kest.task`, and writes none.
    #[must_use]
    pub fn around(mut self, inner: impl TextMapPropagator + Send + Sync + 'static) -> Self {
        self.fields = inner.fields().filter(|field| *field != BAGGAGE).map(str::to_owned).collect();
        self.fields.push(BAGGAGE.to_owned());
        self.inner = Some(Box::new(inner));
        self
    }

    /// Writes the lineage of the calling code into every carrier, whoever gets it.
    #[must_use]
    pub fn any_host(mut self) -> Self {
        self.hosts = Hosts::Any;
        self
    }

    /// Writes the bearer token of the calling code too, as `kest.jwt`. Whoever gets the carrier can use it.
    #[must_use]
    pub fn send_jwt(mut self) -> Self {
        self.token = Token::Sent;
        self
    }

    /// [`TextMapPropagator::inject_context`] that says what went wrong.
    ///
    /// # Errors
    /// When the lineage cannot be written ([`Wire::write`]), or may not ([`Self::any_host`]). What other propagators
    /// had to write is written all the same, where it is baggage.
    pub fn try_inject(&self, cx: &Context, injector: &mut dyn Injector) -> Result<(), PropagationError> {
        let mut others = Vec::new();
        match &self.inner {
            Some(inner) => {
                inner.inject_context(cx, &mut Aside { injector: &mut *injector, baggage: &mut others })
            }
            None => others.extend(cx.baggage().iter().map(|(key, (value, metadata))| {
                foreign_member(key.as_str(), value.as_str(), metadata.as_str())
            })),
        }
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        let written = self.parcel(cx).and_then(|parcel| self.wire.write_blocking(&parcel, &others));
        let (header, result) = match written {
            Ok(header) => (Ok(header), Ok(())),
            Err(error) => (self.wire.write_blocking(&Parcel::new(), &others), Err(error)),
        };
        // If the others' own baggage is what cannot be written, the error says so already.
        if let Some(header) = header.ok().filter(|header| !header.is_empty()) {
            injector.set(BAGGAGE, header);
        }
        result
    }

    fn parcel(&self, cx: &Context) -> Result<Parcel, PropagationError> {
        if let Some(parcel) = cx.get::<Parcel>() {
            return Ok(parcel.clone());
        }
        let outgoing = Outgoing::capture_in(cx);
        let parcel = Parcel::from(&outgoing);
        match (self.hosts, self.token, outgoing.jwt()) {
            (Hosts::Any, Token::Sent, Some(jwt)) => Ok(parcel.with_jwt(jwt.clone())),
            (Hosts::Any, _, _) => Ok(parcel),
            (Hosts::Unnamed, _, _) if parcel.is_empty() => Ok(parcel),
            (Hosts::Unnamed, _, _) => Err(PropagationError::new(
                PropagationErrorKind::HostNotNamed,
                "a propagator does not know to whom it writes; use an outbound layer with named hosts, put a `Parcel` \
                 into the context of the call, or say `KestPropagator::any_host()`",
            )),
        }
    }
}

impl Default for KestPropagator {
    fn default() -> Self {
        Self::new(Wire::default())
    }
}

impl fmt::Debug for KestPropagator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KestPropagator")
            .field("wire", &self.wire)
            .field("inner", &self.inner)
            .field("hosts", &self.hosts)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

impl TextMapPropagator for KestPropagator {
    fn inject_context(&self, cx: &Context, injector: &mut dyn Injector) {
        if let Err(error) = self.try_inject(cx, injector) {
            tracing::warn!(target: "kest", %error, "the lineage was not sent along");
        }
    }

    fn extract_with_context(&self, cx: &Context, extractor: &dyn Extractor) -> Context {
        let headers = headers(extractor);
        let cx = match &self.inner {
            None => cx.clone(),
            Some(inner) => {
                // One header: most readers look at the first alone.
                let kept = headers.iter().flatten().map(|header| without_private(header));
                let baggage = kept.filter(|header| !header.is_empty()).collect::<Vec<_>>().join(",");
                inner.extract_with_context(cx, &Screened { extractor, baggage })
            }
        };
        let read = headers.and_then(|headers| {
            let headers: Vec<&[u8]> = headers.into_iter().map(str::as_bytes).collect();
            self.wire.read_blocking(&headers)
        });
        cx.with_value(ArrivedLineage(read))
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&self.fields)
    }
}

/// What a [`KestPropagator`] read into this context: unverified, or why it is no lineage. None if none has read.
///
/// An error is to be answered with a refusal; treating it as no lineage would let a caller shed its history.
#[must_use]
pub fn arrived(cx: &Context) -> Option<&Result<Arrived, PropagationError>> {
    cx.get::<ArrivedLineage>().map(|arrived| &arrived.0)
}

/// In a type of its own, so that it cannot pass for something verified.
#[derive(Debug)]
struct ArrivedLineage(Result<Arrived, PropagationError>);

/// All `baggage` headers.
///
/// # Errors
/// When the carrier has one that it does not give: a header that is no text.
fn headers(extractor: &dyn Extractor) -> Result<Vec<&str>, PropagationError> {
    let values = extractor.get_all(BAGGAGE).unwrap_or_default();
    if values.is_empty() && extractor.keys().iter().any(|key| key.eq_ignore_ascii_case(BAGGAGE)) {
        return Err(PropagationError::new(
            PropagationErrorKind::Malformed,
            "`baggage` came with characters that no header may have",
        ));
    }
    Ok(values)
}

/// A carrier for the other propagator: its baggage is put aside.
struct Aside<'a> {
    injector: &'a mut dyn Injector,
    baggage: &'a mut Vec<String>,
}

impl Injector for Aside<'_> {
    fn set(&mut self, key: &str, value: String) {
        if key.eq_ignore_ascii_case(BAGGAGE) {
            self.baggage.clear();
            self.baggage.push(value);
        } else {
            self.injector.set(key, value);
        }
    }
}

/// A carrier without our private members.
struct Screened<'a> {
    extractor: &'a dyn Extractor,
    baggage: String,
}

impl Extractor for Screened<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        if key.eq_ignore_ascii_case(BAGGAGE) {
            return Some(self.baggage.as_str()).filter(|baggage| !baggage.is_empty());
        }
        self.extractor.get(key)
    }

    fn keys(&self) -> Vec<&str> {
        self.extractor.keys()
    }

    fn get_all(&self, key: &str) -> Option<Vec<&str>> {
        if key.eq_ignore_ascii_case(BAGGAGE) {
            return self.get(key).map(|baggage| vec![baggage]);
        }
        self.extractor.get_all(key)
    }
}
