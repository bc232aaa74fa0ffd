//! Lines of JSON for programs, a table for people.

use std::error::Error;
use std::io::{self, Write};

use serde::Serialize;

use crate::Result;

/// One measurement; its members are explained in `overhead --help`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) n: usize,
    pub(crate) threads: usize,
    pub(crate) ns: Option<f64>,
    pub(crate) floor_ns: Option<f64>,
    pub(crate) ratio: Option<f64>,
    pub(crate) own_ns: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) added_ns: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p99_ns: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) serialised_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) floor_bytes: Option<usize>,
}

/// Writes lines as they come.
#[derive(Debug)]
pub(crate) struct Report {
    only: Option<String>,
    table: bool,
    lines: Vec<Line>,
}

impl Report {
    pub(crate) fn new(only: Option<String>, table: bool) -> Self {
        Self { only, table, lines: Vec::new() }
    }

    /// Whether a measurement of this name is asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|part| name.contains(part.as_str()))
    }

    pub(crate) fn add(&mut self, mut line: Line) -> Result<()> {
        for (value, digits) in [
            (&mut line.ns, 1),
            (&mut line.floor_ns, 1),
            (&mut line.ratio, 4),
            (&mut line.own_ns, 1),
            (&mut line.added_ns, 1),
            (&mut line.p99_ns, 1),
        ] {
            let scale = 10_f64.powi(digits);
            *value = value.map(|value| (value * scale).round() / scale);
        }
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, &line)?;
        writeln!(out)?;
        self.lines.push(line);
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<()> {
        if !self.table {
            return Ok(());
        }
        let mut out = io::stderr().lock();
        writeln!(
            out,
            "{:<32} {:>7} {:>14} {:>14} {:>7} {:>13}",
            "name", "n", "ns", "floor", "ratio", "own/added/p99"
        )?;
        for line in &self.lines {
            let (cost, floor) = match (line.bytes, line.serialised_bytes.or(line.floor_bytes)) {
                // Where there is a time too, that is what it is about.
                (Some(bytes), Some(floor)) if line.ns.is_none() => {
                    (format!("{bytes} B"), format!("{floor} B"))
                }
                (_, _) => (number(line.ns, 0), number(line.floor_ns, 0)),
            };
            writeln!(
                out,
                "{:<32} {:>7} {cost:>14} {floor:>14} {:>7} {:>13}",
                line.name,
                line.n,
                number(line.ratio, 3),
                number(line.own_ns.or(line.added_ns).or(line.p99_ns), 0)
            )?;
        }
        Ok(())
    }
}

/// Says why there are no more lines.
pub(crate) fn complain(error: &dyn Error) {
    // With standard error gone there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "error: {error}");
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}
