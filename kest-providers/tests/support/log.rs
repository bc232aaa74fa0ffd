//! Keeps the messages that are logged while a closure runs on this thread.

use std::fmt;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

#[derive(Default, Clone)]
struct Log {
    messages: Arc<Mutex<Vec<String>>>,
    /// The field that is wanted beside the message.
    field: Option<&'static str>,
}

/// What the closure logs, each as `LEVEL message`.
#[allow(dead_code, reason = "each test file uses its own part")]
pub(crate) fn logged(run: impl FnOnce()) -> Vec<String> {
    Log::default().of(run)
}

/// The same with this field behind each message that has it: `LEVEL message field=value`.
#[allow(dead_code, reason = "each test file uses its own part")]
pub(crate) fn logged_with(field: &'static str, run: impl FnOnce()) -> Vec<String> {
    Log { field: Some(field), ..Log::default() }.of(run)
}

impl Log {
    fn of(self, run: impl FnOnce()) -> Vec<String> {
        tracing::subscriber::with_default(self.clone(), run);
        self.messages.lock().unwrap().clone()
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut message = Message { text: String::new(), field: self.field, value: String::new() };
        event.record(&mut message);
        let line = format!("{} {}{}", event.metadata().level(), message.text, message.value);
        self.messages.lock().unwrap().push(line);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Message {
    text: String,
    field: Option<&'static str>,
    value: String,
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.text = format!("{value:?}");
        } else if Some(field.name()) == self.field {
            self.value = format!(" {}={value:?}", field.name());
        }
    }
}
