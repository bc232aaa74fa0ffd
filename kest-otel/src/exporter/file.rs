//! Spans as lines of JSON.

use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;

use super::json;
use super::local::{self, Sink, cannot_open, told};
use crate::error::TelemetryError;

/// A file that is appended to: a line for each span, each a whole `TracesData` of OTLP in JSON.
pub(super) struct JsonLines {
    file: File,
    /// Whether a line may stand there that was not written to its end.
    torn: bool,
}

impl JsonLines {
    pub(super) fn open(path: &Path) -> Result<Self, TelemetryError> {
        let mut file = local::open(path)?;
        let told = |error: std::io::Error| cannot_open(path, &error).with_source(error);
        // Pipes and devices have neither beginning nor end.
        if !file.metadata().map_err(told)?.is_file() {
            return Ok(Self { file, torn: false });
        }
        if !begins_with_spans(&mut file).map_err(told)? {
            return Err(cannot_open(path, &"it holds something else; name another file"));
        }
        let torn = is_torn(&mut file).map_err(told)?;
        Ok(Self { file, torn })
    }
}

/// Whether the first line begins as each line of ours does. A crash may have torn it: then nothing follows, or such a
/// line does. A document in JSON that is spread over lines goes on otherwise.
fn begins_with_spans(file: &mut File) -> std::io::Result<bool> {
    let mut head = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    Read::by_ref(file).take(4096).read_to_end(&mut head)?;
    // Of a line that no room was left for there is its end alone.
    let mut lines = head.split(|byte| *byte == b'\n').skip_while(|line| json::BEGINNING.starts_with(line));
    Ok(lines.next().is_none_or(|line| line.starts_with(json::BEGINNING)))
}

/// Whether the file ends within a line.
fn is_torn(file: &mut File) -> std::io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

impl Sink for JsonLines {
    fn take(&mut self, spans: &[SpanData], resource: &Resource) -> Result<(), String> {
        let mut lines = String::new();
        if self.torn {
            lines.push('\n');
        }
        for span in spans {
            lines.push_str(&json::traces_data(span, resource).to_string());
            lines.push('\n');
        }
        // At once, so that lines of several processes do not mix.
        let written = self.file.write_all(lines.as_bytes());
        self.torn = written.is_err();
        written.map_err(|error| told(&error))
    }
}
