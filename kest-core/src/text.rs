//! Foreign text among one's own. Whoever wrote an entry must not forge a line of a report, move the cursor of a
//! terminal, colour a line or turn it around.

use std::error::Error as StdError;
use std::fmt::{self, Write as _};

/// The whole text with everything escaped that a terminal or a log would act upon, cut where it gets too long.
#[must_use]
pub fn message(text: &str) -> String {
    const LONGEST: usize = 600;
    head(text, LONGEST, Inside::Text)
}

/// A value: as it is where it is one plain word, else in quotes, so that it cannot pass for its surroundings.
#[must_use]
pub fn field(text: &str, longest: usize) -> String {
    let inside = Inside::of(text);
    inside.enclose(head(text, longest, inside))
}

/// As [`field`], but cut in the middle: of a workload id both ends matter.
#[must_use]
pub fn id(text: &str, longest: usize) -> String {
    let inside = Inside::of(text);
    let whole = head(text, longest, inside);
    // INVARIANT: neither a plain word nor an escaped value has this sign of its own.
    if !whole.ends_with('…') {
        return inside.enclose(whole);
    }
    let mut tail = Vec::new();
    let mut left = longest / 2;
    for c in text.chars().rev() {
        let piece = escaped(c, inside);
        let length = piece.chars().count();
        if length > left {
            break;
        }
        left -= length;
        tail.push(piece);
    }
    tail.reverse();
    inside.enclose(format!("{}{}", head(text, longest.div_ceil(2), inside), tail.concat()))
}

/// JSON in which nothing is left that a terminal would act upon. Such characters stand in strings alone, where
/// RFC 8259 §7 lets them be escaped.
#[must_use]
pub fn json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if is_unsafe(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            text.push(c);
        }
    }
    text
}

/// Foreign text for the middle of a message: in backticks that it cannot close, escaped, and cut.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(
    /// The text.
    pub &'a str,
);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 240;
        write!(f, "`{}`", head(self.0, LONGEST, Inside::Backticks))
    }
}

/// Another message with everything escaped that a terminal or a log would act upon, and cut.
#[derive(Clone, Copy, Debug)]
pub struct Safe<T>(
    /// The message.
    pub T,
);

impl<T: fmt::Display> fmt::Display for Safe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        write!(text, "{}", self.0)?;
        f.write_str(&message(&text))
    }
}

/// An error as its `Debug` should read, which is what `main` prints of one that it returns: the message, and of the causes
/// what it does not say yet. Nothing twice, and no data of whoever failed.
///
/// # Errors
/// When the formatter does.
pub fn debug(error: &(dyn StdError + 'static), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let raw = cause.to_string();
        let safe = message(&raw);
        if !said.contains(&raw) && !said.contains(&safe) {
            write!(said, ": {safe}")?;
        }
        next = cause.source();
    }
    f.write_str(&said)
}

/// What a character stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Text,
    Quotes,
    Backticks,
}

impl Inside {
    fn of(value: &str) -> Self {
        if is_plain(value) { Self::Text } else { Self::Quotes }
    }

    fn enclose(self, text: String) -> String {
        match self {
            Self::Text | Self::Backticks => text,
            Self::Quotes => format!("\"{text}\""),
        }
    }
}

fn head(text: &str, longest: usize, inside: Inside) -> String {
    // Nearly always, and all at once.
    if text.len() <= longest && text.bytes().fold(true, |all, byte| all & is_itself(char::from(byte))) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len().min(longest));
    let mut left = longest;
    for c in text.chars() {
        if is_itself(c) && left > 0 {
            left -= 1;
            out.push(c);
            continue;
        }
        let piece = escaped(c, inside);
        let length = piece.chars().count();
        if length > left {
            out.push('…');
            return out;
        }
        left -= length;
        out.push_str(&piece);
    }
    out
}

/// Whether the character is never escaped, whatever it stands in.
fn is_itself(c: char) -> bool {
    matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '`')
}

fn escaped(c: char, inside: Inside) -> String {
    match (c, inside) {
        ('\n', _) => "\\n".to_owned(),
        ('\r', _) => "\\r".to_owned(),
        ('\t', _) => "\\t".to_owned(),
        ('"' | '\\', Inside::Quotes) => format!("\\{c}"),
        ('`', Inside::Backticks) => "\\u{60}".to_owned(),
        // The sign of a cut must not be forged.
        ('…', Inside::Quotes | Inside::Backticks) => "\\u{2026}".to_owned(),
        _ if is_unsafe(c) => format!("\\u{{{:x}}}", u32::from(c)),
        _ => c.to_string(),
    }
}
/// Controls (C0, DEL, C1), bidirectional controls (UAX #9 §2), and what takes no room.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c),
            0xad | 0x34f | 0x61c | 0x115f | 0x1160 | 0x17b4 | 0x17b5 | 0x180b..=0x180f
            | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0x3164 | 0xfe00..=0xfe0f | 0xfeff
            | 0xffa0 | 0xfff0..=0xfffb | 0xe0000..=0xe0fff)
}

fn is_plain(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '/' | '_'))
        && text.chars().all(|c| {
            c.is_alphanumeric()
                || matches!(
                    c,
                    '_' | '-' | '.' | ':' | '/' | '@' | '+' | '*' | '#' | '~' | '%' | '=' | '&' | '$'
                )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_acts_upon_is_escaped() {
        assert_eq!(message("a\u{1b}[31mb\u{9b}2J\u{7f}\r\n"), "a\\u{1b}[31mb\\u{9b}2J\\u{7f}\\r\\n");
        assert_eq!(message("x\u{202e}y\u{2066}z\u{200b}"), "x\\u{202e}y\\u{2066}z\\u{200b}");
        assert_eq!(message("héé 日本"), "héé 日本");
    }

    #[test]
    fn a_value_cannot_pass_for_its_surroundings() {
        assert_eq!(field("orders.process", 40), "orders.process");
        assert_eq!(field("pay  trust 100", 40), "\"pay  trust 100\"");
        assert_eq!(field("a\" trust 100 \"", 40), "\"a\\\" trust 100 \\\"\"");
        assert_eq!(field("+pii", 40), "\"+pii\"");
        assert_eq!(field("", 40), "\"\"");
    }

    #[test]
    fn causes_are_said_once() {
        use crate::error::{ConfigurationError, ConfigurationErrorKind, Error};
        let new = |text| ConfigurationError::new(ConfigurationErrorKind::ConfigFile, text);
        let inner = || std::io::Error::other("no\nroom");
        let said = Error::from(new("cannot write: no\\nroom").with_source(inner()));
        assert_eq!(format!("{said:?}"), "cannot write: no\\nroom");
        let unsaid = Error::from(new("in `a`").with_source(new("cannot write").with_source(inner())));
        assert_eq!(format!("{unsaid:?}"), "in `a`: cannot write: no\\nroom");
        assert_eq!(format!("{unsaid:#?}"), format!("{unsaid:?}"));
    }

    #[test]
    fn long_values_are_cut() {
        assert_eq!(field(&"a".repeat(50), 10), format!("{}…", "a".repeat(10)));
        assert_eq!(field("abc…", 20), "\"abc\\u{2026}\"");
        assert_eq!(message("`[…]`"), "`[…]`");
        assert_eq!(field(&"\u{1b}".repeat(1000), 12), "\"\\u{1b}\\u{1b}…\"");
        assert_eq!(message(&"a".repeat(1000)), format!("{}…", "a".repeat(600)));
    }

    #[test]
    fn what_is_never_escaped_is_not_escaped() {
        for c in '\0'..='\u{ff}' {
            for inside in [Inside::Text, Inside::Quotes, Inside::Backticks] {
                assert!(!is_itself(c) || escaped(c, inside) == c.to_string(), "{c:?}");
                assert_eq!(head(&c.to_string(), 20, inside), escaped(c, inside));
            }
        }
        assert!(is_itself('a') && !is_itself('\n') && !is_itself('é'));
        assert_eq!(head("ab", 2, Inside::Text), "ab");
        assert_eq!(head("ab", 1, Inside::Text), "a…");
        assert_eq!(head("a", 0, Inside::Text), "…");
    }

    #[test]
    fn ids_are_cut_in_the_middle() {
        assert_eq!(id("spiffe://example.org/a/very/long/path/w1", 16), "spiffe:/…/path/w1");
        assert_eq!(id("short", 16), "short");
        assert_eq!(id("a b", 16), "\"a b\"");
        assert_eq!(id(&"\u{202e}ab".repeat(9), 24), "\"\\u{202e}ab…ab\\u{202e}ab\"");
    }

    #[test]
    fn json_stays_json() {
        let text = serde_json::to_string("\u{9b}2J \u{202e} \u{e0041} é").unwrap();
        let safe = json(&text);
        assert_eq!(safe, "\"\\u009b2J \\u202e \\udb40\\udc41 é\"");
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), "\u{9b}2J \u{202e} \u{e0041} é");
    }

    #[test]
    fn what_is_quoted_stays_in_its_backticks() {
        let quoted = Quoted("x` is fine\ncompleteness  pass \u{1b}[8m").to_string();
        assert_eq!(quoted, "`x\\u{60} is fine\\ncompleteness  pass \\u{1b}[8m`");
        assert_eq!(Quoted(&"a".repeat(300)).to_string(), format!("`{}…`", "a".repeat(240)));
        assert_eq!(Safe("a\u{202e}b").to_string(), "a\\u{202e}b");
    }
}
