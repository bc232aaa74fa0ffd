//! What is known of a text before it is parsed: its limits, and which version of the language it means.
//!
//! The library's parser tries a `[` or `{` in several ways, each of which reads the inside again, and both it and
//! the evaluators recurse: a text that keeps to no limits could take the process with it.

use kest_core::error::PolicyUnavailable;
use regorus::unstable::{Lexer, Source as Text, TokenKind};

use super::Source;
use super::parse::located;
use super::refuse;

/// Brackets within brackets.
const MAX_NESTING: usize = 32;
/// Brackets within brackets, and operators in a row in each: how deep an expression can become.
const MAX_DEPTH: usize = 64;
/// Parts of one reference.
const MAX_PARTS: usize = 64;
/// Each token counts twice as much with every `[` or `{` around it, as does the parser's work.
const MAX_WORK: u64 = 1 << 20;

/// Words that only Rego v1 has.
pub(super) const V1_WORDS: &[&str] = &["contains", "every", "if", "in"];

/// The mark of a text that says what it is.
pub(super) const IMPORT_V1: &str = "`import rego.v1`";

/// What shows that a text is not meant as Rego v0.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct V1Mark {
    pub(super) what: &'static str,
    pub(super) line: u32,
}

/// Reads a text token by token, as the parser will. Finds the first mark of Rego v1, if there is one.
pub(super) fn scan(source: &Source) -> Result<Option<V1Mark>, PolicyUnavailable> {
    let file = &source.file;
    // The library takes this character for the end of the text.
    if let Some((before, _)) = source.text.split_once('\0') {
        let line = before.bytes().filter(|&b| b == b'\n').count() + 1;
        return Err(refuse(format!("{file}:{line}: a policy holds no NUL character; take it out")));
    }
    let unreadable = |error: String| refuse(located(&error, &format!("`{file}` cannot be read")));
    let text =
        Text::from_contents(file.clone(), source.text.clone()).map_err(|e| unreadable(e.to_string()))?;
    let mut lexer = Lexer::new(&text);
    let mut shape = Shape::default();
    let mut marks = Marks::default();
    loop {
        let token = lexer.next_token().map_err(|e| unreadable(e.to_string()))?;
        let (word, line) = (token.1.text(), token.1.line);
        match token.0 {
            TokenKind::Eof => return Ok(marks.found),
            TokenKind::Symbol | TokenKind::Ident => {}
            // INVARIANT: what follows looks at a word's letters only where they are no string's.
            TokenKind::String | TokenKind::RawString => {
                shape.plain(line);
                marks.word("\"", line);
                continue;
            }
            // `-1` is one token, also in `a -1`.
            TokenKind::Number if word.starts_with('-') => shape.operator(line),
            TokenKind::Number => shape.plain(line),
            #[allow(unreachable_patterns, reason = "which tokens there are depends on regorus' features")]
            _ => {
                return Err(refuse(format!("{file}:{line}: this engine does not know `{word}`; rewrite it")));
            }
        }
        if token.0 != TokenKind::Number {
            shape.symbol(word, line);
        }
        marks.word(word, line);
        if let Some(limit) = shape.exceeded {
            return Err(refuse(format!("{file}:{line}: {limit}; split the rule into smaller ones")));
        }
    }
}

/// How deep the text is at a token.
#[derive(Default)]
struct Shape {
    outer: Vec<Level>,
    level: Level,
    /// Of those around the token: `[` and `{`.
    ambiguous: u32,
    work: u64,
    last: Last,
    line: u32,
    exceeded: Option<String>,
}

/// Between two brackets.
#[derive(Default)]
struct Level {
    ambiguous: bool,
    operators: usize,
    parts: usize,
    /// How deep the deepest bracket of the expression is.
    inside: usize,
    /// How deep the deepest expression before is.
    before: usize,
}

#[derive(Default, PartialEq, Eq)]
enum Last {
    #[default]
    Other,
    Operator,
    Dot,
}

impl Shape {
    /// A word, string or number.
    fn plain(&mut self, line: u32) {
        self.new_line(line);
        if self.last != Last::Dot {
            self.level.parts = 0;
        }
        self.seen(Last::Other, line);
    }

    /// A line that no operator connects begins another statement.
    fn new_line(&mut self, line: u32) {
        if line != self.line && self.last == Last::Other {
            self.separator();
        }
    }

    fn operator(&mut self, line: u32) {
        self.level.operators += 1;
        self.level.parts = 0;
        self.deep();
        self.seen(Last::Operator, line);
    }

    fn symbol(&mut self, word: &str, line: u32) {
        match word {
            // Behind a dot it is a name.
            "in" if self.last != Last::Dot => self.operator(line),
            "[" | "{" | "(" | "set(" => {
                let ambiguous = word == "[" || word == "{";
                // A `(` goes on with the call, also in a line of its own.
                if ambiguous {
                    self.new_line(line);
                }
                if word == "[" {
                    self.part();
                }
                self.open(ambiguous);
                self.seen(Last::Other, line);
            }
            "]" | "}" | ")" => {
                self.close();
                self.seen(Last::Other, line);
            }
            "." => {
                self.part();
                self.seen(Last::Dot, line);
            }
            "," | ";" | ":" => {
                self.separator();
                self.seen(Last::Other, line);
            }
            _ if word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') => self.plain(line),
            _ => self.operator(line),
        }
    }

    fn part(&mut self) {
        self.level.parts += 1;
        if self.level.parts > MAX_PARTS {
            self.exceeded = Some(format!("a reference may have {MAX_PARTS} parts"));
        }
    }

    fn open(&mut self, ambiguous: bool) {
        self.ambiguous += u32::from(ambiguous);
        let inner = Level { ambiguous, ..Level::default() };
        self.outer.push(std::mem::replace(&mut self.level, inner));
        if self.outer.len() > MAX_NESTING {
            self.exceeded = Some(format!("brackets may be nested {MAX_NESTING} deep"));
        }
        self.deep();
    }

    fn close(&mut self) {
        // A bracket too many is the parser's to report.
        let Some(outer) = self.outer.pop() else { return };
        let inner = std::mem::replace(&mut self.level, outer);
        self.ambiguous -= u32::from(inner.ambiguous);
        self.level.inside = self.level.inside.max(inner.before.max(inner.inside + inner.operators) + 1);
        self.deep();
    }

    fn separator(&mut self) {
        let level = &mut self.level;
        level.before = level.before.max(level.inside + level.operators);
        (level.inside, level.operators, level.parts) = (0, 0, 0);
    }

    fn deep(&mut self) {
        let around: usize = self.outer.iter().map(|level| level.operators + 1).sum();
        if around + self.level.operators + self.level.inside > MAX_DEPTH {
            self.exceeded = Some(format!("an expression may be {MAX_DEPTH} brackets and operators deep"));
        }
    }

    fn seen(&mut self, last: Last, line: u32) {
        self.last = last;
        self.line = line;
        self.work = self.work.saturating_add(1 << self.ambiguous.min(40));
        if self.work > MAX_WORK {
            self.exceeded = Some(format!("the text nests `[` and `{{` too often (limit {MAX_WORK})"));
        }
    }
}

/// Looks for what Rego v0 does not have.
#[derive(Default)]
struct Marks {
    found: Option<V1Mark>,
    /// The statement so far, as far as it matters.
    before: Before,
    /// `contains`, which is a built-in of Rego v0 where a bracket follows.
    contains: Option<u32>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Before {
    #[default]
    Other,
    Dot,
    Default,
    DefaultName,
    Import,
    ImportRego,
    ImportFuture,
}

impl Marks {
    fn word(&mut self, word: &str, line: u32) {
        if let Some(line) = self.contains.take()
            && word != "("
        {
            self.mark("`contains`", line);
        }
        let before = self.before;
        self.before = match (before, word) {
            (_, ".") if matches!(before, Before::ImportRego | Before::ImportFuture) => before,
            (Before::Default, _) => Before::DefaultName,
            (Before::DefaultName, ":=") => {
                self.mark("`default … :=`", line);
                Before::Other
            }
            (Before::DefaultName, "=") => Before::Other,
            (Before::DefaultName, _) => Before::DefaultName,
            (Before::Import, "rego") => Before::ImportRego,
            (Before::Import, "future") => Before::ImportFuture,
            (Before::ImportRego, "v1") => {
                self.mark(IMPORT_V1, line);
                Before::Other
            }
            (Before::ImportFuture, "keywords") => {
                self.mark("`import future.keywords`", line);
                Before::Other
            }
            // A name, as in `input.if`.
            (Before::Dot, _) => Before::Other,
            (_, ".") => Before::Dot,
            (_, "default") => Before::Default,
            (_, "import") => Before::Import,
            (_, "if") => self.mark("`if`", line),
            (_, "in") => self.mark("`in`", line),
            (_, "every") => self.mark("`every`", line),
            (_, "contains") => {
                self.contains = Some(line);
                Before::Other
            }
            _ => Before::Other,
        };
    }

    fn mark(&mut self, what: &'static str, line: u32) -> Before {
        self.found.get_or_insert(V1Mark { what, line });
        Before::Other
    }
}

#[cfg(test)]
mod tests;
