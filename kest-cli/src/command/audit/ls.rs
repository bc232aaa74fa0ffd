//! `kest audit ls`.

use std::path::PathBuf;

use clap::Args;
use kest_providers::audit::Stored;
use serde::Serialize;

use crate::Outcome;
use crate::entry::{Shown, named};
use crate::input::Unusable;
use crate::output::{Ink, Out, Reader, Stream, complain};
use crate::store::{open, said, wanted::Wanted};
use crate::text;
use crate::time::utc;

/// List the entries of a store, one on a line
///
/// When it was received (UTC), short hash, operation, workload (of OpenID Connect: issuer#subject), trust score,
/// taints in effect, and what it is if it is no ordinary call: `denied`, `completion`, `snapshot`, `broken`. In columns
/// on a terminal, with tabs between in a pipe. Nothing is verified: all of it is what the store says.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Ls {
    /// The store: a folder, a segment or a database
    store: PathBuf,
    #[command(flatten)]
    wanted: Wanted,
    /// Write one JSON object on a line for each entry
    #[arg(long, help_heading = "Options")]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kest audit ls /var/lib/orders/audit --since 2h --denied
  kest audit ls audit.db --operation pay --newest --limit 20
  kest audit ls audit.db --taint pii --json | jq .entry_id

Exit codes: 0 listed, even if nothing fits; 1 places could not be read (standard error says how many), or the store \
cannot be read further: what was listed stands; 2 usage error or unreadable input.";

/// The names of the members are a promise: `docs/cli.md`.
#[derive(Serialize)]
struct Json<'a> {
    place: String,
    received: String,
    received_ms: u64,
    #[serde(flatten)]
    entry: &'a Shown,
}

impl Ls {
    /// # Errors
    /// When the store cannot be opened, or the output cannot be written.
    pub(crate) fn run(self, out: &Out) -> Result<Outcome, Unusable> {
        let store = open(&self.store)?;
        let mut rows =
            Rows { out: *out, stream: out.stream(), widths: [1; 4], waiting: Vec::new(), added: 0 };
        let mut outcome = Outcome::Good;
        let mut listed = self.wanted.list(&store)?;
        for (index, stored) in listed.by_ref().enumerate() {
            let stored = match stored {
                Ok(stored) => stored,
                // Others may still be read.
                Err(error) => {
                    complain(&said(&error));
                    outcome = Outcome::Bad;
                    continue;
                }
            };
            let entry = Shown::read(index, &stored.jws);
            let reader = if self.json {
                let (place, received) = (stored.place.to_string(), utc(stored.received_ms));
                rows.stream.json(&Json { place, received, received_ms: stored.received_ms, entry: &entry })?
            } else {
                rows.add(cells(&stored, &entry))?
            };
            if reader == Reader::Closed {
                return Ok(outcome);
            }
        }
        rows.end()?;
        if let Some(gaps) = listed.gaps() {
            complain(&gaps);
            outcome = Outcome::Bad;
        }
        Ok(outcome)
    }
}

/// Received, hash, operation, workload, trust, taints, mark.
type Cells = [(Ink, String); 7];

fn cells(stored: &Stored, entry: &Shown) -> Cells {
    /// More taints are counted.
    const LISTED: usize = 8;
    let unknown = || "?".to_owned();
    let mut taints: Vec<String> =
        entry.taints.iter().take(LISTED).map(|taint| text::field(taint, 32)).collect();
    if entry.taints.len() > LISTED {
        taints.push(format!("+{}", entry.taints.len() - LISTED));
    }
    let taints = if taints.is_empty() { "-".to_owned() } else { taints.join(",") };
    let mark = match (&entry.problem, entry.classification.as_deref()) {
        (Some(_), _) => (Ink::Bad, "broken".to_owned()),
        (None, _) if entry.is_denial() => (Ink::Bad, "denied".to_owned()),
        (None, None | Some("system")) => (Ink::Quiet, "-".to_owned()),
        (None, Some(class)) => (Ink::Quiet, text::field(class, 24)),
    };
    [
        (Ink::Quiet, utc(stored.received_ms)),
        (Ink::Unsure, text::short_hash(&entry.hash).to_owned()),
        (Ink::Strong, entry.operation.as_deref().map_or_else(unknown, |name| text::field(name, 40))),
        (Ink::Plain, named(entry.principal.as_deref(), entry.oidc.as_ref(), 48).unwrap_or_else(unknown)),
        (Ink::Plain, entry.trust_score.map_or_else(unknown, |score| score.to_string())),
        (Ink::Plain, taints),
        mark,
    ]
}

/// Rows on their way out.
struct Rows {
    out: Out,
    stream: Stream,
    /// Of operation, workload, trust and taints.
    widths: [usize; 4],
    /// The first ones, by whose widths the columns are laid out.
    waiting: Vec<Cells>,
    added: usize,
}

impl Rows {
    fn add(&mut self, cells: Cells) -> Result<Reader, Unusable> {
        const LAID_OUT_BY: usize = 40;
        if !self.out.is_terminal() {
            return self.stream.write(&line(self.out, &cells, None));
        }
        for (width, (_, cell)) in self.widths.iter_mut().zip(cells.iter().skip(2)) {
            *width = (*width).max(cell.chars().count());
        }
        self.waiting.push(cells);
        self.added += 1;
        if self.added < LAID_OUT_BY {
            return Ok(Reader::Open);
        }
        self.write_waiting()
    }

    fn write_waiting(&mut self) -> Result<Reader, Unusable> {
        for cells in std::mem::take(&mut self.waiting) {
            if self.stream.write(&line(self.out, &cells, Some(self.widths)))? == Reader::Closed {
                return Ok(Reader::Closed);
            }
        }
        Ok(Reader::Open)
    }

    fn end(&mut self) -> Result<Reader, Unusable> {
        self.write_waiting()?;
        self.stream.flush()
    }
}

/// One row: in columns of these widths, or with tabs between.
fn line(out: Out, cells: &Cells, widths: Option<[usize; 4]>) -> String {
    let inked = cells.iter().enumerate().map(|(index, (ink, cell))| {
        let width = widths.and_then(|widths| widths.get(index.checked_sub(2)?).copied()).unwrap_or(0);
        // Not by the formatter alone: that would count the escapes of colours.
        let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
        format!("{}{pad}", out.ink(*ink, cell))
    });
    let between = if widths.is_some() { "  " } else { "\t" };
    let line = inked.collect::<Vec<_>>().join(between);
    format!("{}\n", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Colour;

    #[test]
    fn columns_stand_under_one_another_with_and_without_colours() {
        let row = |operation: &str, workload: &str| -> Cells {
            ["t", "h", operation, workload, "40", "a,b", "-"].map(|cell| (Ink::Strong, cell.to_owned()))
        };
        let rows = [row("pay", "spiffe://example.org/a"), row("refund", "x")];
        let plain = rows.clone().map(|cells| line(Out::new(Colour::Never), &cells, Some([8, 24, 5, 4])));
        assert_eq!(plain[0], "t  h  pay       spiffe://example.org/a    40     a,b   -\n");
        assert_eq!(plain[1], "t  h  refund    x                         40     a,b   -\n");
        let coloured = rows.map(|cells| line(Out::new(Colour::Always), &cells, Some([8, 24, 5, 4])));
        for (plain, coloured) in plain.iter().zip(coloured) {
            assert_eq!(*plain, coloured.replace("\u{1b}[1m", "").replace("\u{1b}[0m", ""));
        }
    }

    #[test]
    fn pipes_get_tabs() {
        let cells = ["t", "h", "pay", "w", "40", "-", "-"].map(|cell| (Ink::Plain, cell.to_owned()));
        assert_eq!(line(Out::new(Colour::Never), &cells, None), "t\th\tpay\tw\t40\t-\t-\n");
    }
}
