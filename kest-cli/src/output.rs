//! Standard output: colours, and pipes that close.

use std::env;
use std::ffi::OsString;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, StdoutLock, Write};

use serde::Serialize;

use crate::Colour;
use crate::input::Unusable;
use crate::text;

/// Standard output, with or without colours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    coloured: bool,
    terminal: bool,
}

/// What a piece of text stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ink {
    Good,
    Bad,
    Unsure,
    Strong,
    Quiet,
    Plain,
}

impl Out {
    pub(crate) fn new(colour: Colour) -> Self {
        let terminal = io::stdout().is_terminal();
        Self { coloured: coloured(colour, terminal, env::var_os("NO_COLOR"), env::var_os("TERM")), terminal }
    }

    /// Whether somebody looks at it.
    pub(crate) fn is_terminal(self) -> bool {
        self.terminal
    }

    /// Many lines, one after the other.
    pub(crate) fn stream(self) -> Stream {
        Stream { to: BufWriter::with_capacity(1 << 16, io::stdout().lock()), terminal: self.terminal }
    }

    pub(crate) fn ink(self, ink: Ink, text: &str) -> String {
        if !self.coloured {
            return text.to_owned();
        }
        let code = match ink {
            Ink::Good => "32",
            Ink::Bad => "31",
            Ink::Unsure => "33",
            Ink::Strong => "1",
            Ink::Quiet => "2",
            Ink::Plain => return text.to_owned(),
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// Writes text. A reader that has seen enough and closed its end is no error: the verdict stands.
    ///
    /// # Errors
    /// When the output cannot be written, such as to a full disk.
    pub(crate) fn write(self, text: &str) -> Result<(), Unusable> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Unusable(format!("cannot write the output: {error}")))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Writes one JSON object on one line.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(crate) fn json<T: Serialize>(self, value: &T) -> Result<(), Unusable> {
        self.write(&json_line(value)?)
    }
}

/// Lines that are written while they are found. On a terminal each is seen at once.
#[derive(Debug)]
pub(crate) struct Stream {
    to: BufWriter<StdoutLock<'static>>,
    terminal: bool,
}

/// Whether anybody reads on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    Open,
    Closed,
}

impl Stream {
    /// Writes text that ends with a line end.
    ///
    /// # Errors
    /// When the output cannot be written. That its reader has closed its end is no error.
    pub(crate) fn write(&mut self, text: &str) -> Result<Reader, Unusable> {
        let written = self.to.write_all(text.as_bytes());
        if self.terminal && written.is_ok() {
            return self.flush();
        }
        reader(written)
    }

    /// Writes one JSON object on one line.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(crate) fn json<T: Serialize>(&mut self, value: &T) -> Result<Reader, Unusable> {
        self.write(&json_line(value)?)
    }

    /// Writes what waits. Without this, an error that comes at the end is not seen.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(crate) fn flush(&mut self) -> Result<Reader, Unusable> {
        reader(self.to.flush())
    }
}

fn reader(written: io::Result<()>) -> Result<Reader, Unusable> {
    match written {
        Ok(()) => Ok(Reader::Open),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Closed),
        Err(error) => Err(Unusable(format!("cannot write the output: {error}"))),
    }
}

/// One JSON object on one line, with a line end.
///
/// # Errors
/// When the value cannot be put in JSON.
pub(crate) fn json_line<T: Serialize>(value: &T) -> Result<String, Unusable> {
    let json = serde_json::to_string(value);
    let json = json.map_err(|error| Unusable(format!("cannot write JSON: {error}")))?;
    Ok(format!("{}\n", text::json(&json)))
}

fn coloured(colour: Colour, terminal: bool, no_color: Option<OsString>, term: Option<OsString>) -> bool {
    match colour {
        Colour::Always => true,
        Colour::Never => false,
        // https://no-color.org: any value but the empty one.
        Colour::Auto => {
            terminal
                && no_color.is_none_or(|value| value.is_empty())
                && term.is_none_or(|term| term != "dumb")
        }
    }
}

/// Says on standard error why the command cannot do its work.
pub(crate) fn complain(message: &str) {
    // Nobody is left to be told that standard error is closed.
    let _ = writeln!(io::stderr(), "kest: {}", text::message(message));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        let auto = |terminal, no_color: Option<&str>, term: Option<&str>| {
            coloured(Colour::Auto, terminal, no_color.map(Into::into), term.map(Into::into))
        };
        assert!(auto(true, None, Some("xterm")));
        assert!(auto(true, Some(""), None));
        assert!(!auto(true, Some("1"), Some("xterm")));
        assert!(!auto(true, None, Some("dumb")));
        assert!(!auto(false, None, Some("xterm")));
        assert!(coloured(Colour::Always, false, Some("1".into()), None));
        assert!(!coloured(Colour::Never, true, None, None));
    }
}
