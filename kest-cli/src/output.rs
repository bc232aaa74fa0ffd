//! Standard output: colours, and pipes that close.

use std::env;
use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal, Write};

use serde::Serialize;

use crate::Colour;
use crate::input::Unusable;
use crate::text;

/// Standard output, with or without colours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    coloured: bool,
}

/// What a piece of text stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ink {
    Good,
    Bad,
    Unsure,
    Strong,
    Quiet,
}

impl Out {
    pub(crate) fn new(colour: Colour) -> Self {
        let terminal = io::stdout().is_terminal();
        Self { coloured: coloured(colour, terminal, env::var_os("NO_COLOR"), env::var_os("TERM")) }
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
        let json =
            serde_json::to_string(value).map_err(|error| Unusable(format!("cannot write JSON: {error}")))?;
        self.write(&format!("{}\n", text::json(&json)))
    }
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
