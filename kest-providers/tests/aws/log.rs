//! Takes down whatever is logged.

use std::fmt::{self, Write as _};
use std::sync::Mutex;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

static LOGGED: Mutex<String> = Mutex::new(String::new());

/// What has been logged so far.
pub(crate) fn everything() -> String {
    LOGGED.lock().unwrap().clone()
}

/// Every level, target, field and span.
pub(crate) struct Everything;

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Everything {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut text = span.metadata().name().to_owned();
        span.record(&mut Fields(&mut text));
        *LOGGED.lock().unwrap() += &(text + "\n");
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut text = String::new();
        values.record(&mut Fields(&mut text));
        *LOGGED.lock().unwrap() += &(text + "\n");
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = event.metadata().target().to_owned();
        event.record(&mut Fields(&mut text));
        *LOGGED.lock().unwrap() += &(text + "\n");
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
