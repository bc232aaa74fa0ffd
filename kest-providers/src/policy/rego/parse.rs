//! Texts become modules, each in the language version that it is written in; and what the parser says of them.

use kest_core::error::PolicyUnavailable;
use regorus::Engine;
use regorus::unstable::{Module, Rule, RuleHead};

use super::Source;
use super::outline::{head, root};
use super::refuse;
use super::scan::{IMPORT_V1, V1_WORDS, scan};

/// Adds a source in the language version that it is written in.
///
/// Rego v0 takes `allow if { … }` for two rules, `allow`, which is true, and `if`. So a text is read as v0 only where
/// nothing in it looks like v1, neither to begin with nor in what the parser made of it.
pub(super) fn parse(engine: &mut Engine, source: &Source) -> Result<(), PolicyUnavailable> {
    let file = &source.file;
    let v1_mark = scan(source)?;
    let mut add = |v0| {
        engine.set_rego_v0(v0);
        let added = engine.add_policy(file.clone(), source.text.clone());
        engine.set_rego_v0(false);
        added.map_err(|error| error.to_string())
    };
    let Err(v1) = add(false) else { return Ok(()) };
    let v1_message = located(&v1, &format!("`{file}` cannot be parsed"));
    let mixed = |line: u32, what: &str| {
        refuse(format!(
            "{v1_message} (nor is it Rego v0: line {line} of `{file}` has {what}); \
             write all of it as Rego v1: `import rego.v1`, and `if` before each body"
        ))
    };
    if let Some(mark) = v1_mark {
        if mark.what == IMPORT_V1 {
            return Err(refuse(v1_message));
        }
        return Err(mixed(mark.line, mark.what));
    }
    if let Err(v0) = add(true) {
        // The reading that got further is the one that was meant, and comes first.
        let v0_message = located(&v0, &format!("`{file}` cannot be parsed"));
        let (first, second, version) = if position(&v0) > position(&v1) {
            (v0_message, v1_message, "v1")
        } else {
            (v1_message, v0_message, "v0")
        };
        return Err(refuse(format!("{first} (read as Rego {version}: {second})")));
    }
    let modules = engine.get_modules();
    if let Some((line, what)) = modules.last().and_then(|module| not_v0(module)) {
        return Err(mixed(line, what));
    }
    tracing::warn!(
        target: "kest",
        %file,
        "policy file `{file}` is written in Rego v0; add `import rego.v1`, and `if` before each body"
    );
    Ok(())
}

/// The first rule that Rego v0 has only because a word of v1 was no word to it.
fn not_v0(module: &Module) -> Option<(u32, &'static str)> {
    module.policy.iter().find_map(|rule| {
        let line = rule.span().line;
        if root(head(rule)).is_some_and(|name| V1_WORDS.contains(&name)) {
            return Some((line, "a rule named like a word of Rego v1"));
        }
        bare(rule).then_some((line, "a rule without body and value"))
    })
}

/// Whether a rule says nothing: neither body nor value.
pub(super) fn bare(rule: &Rule) -> bool {
    match rule {
        Rule::Default { .. } => false,
        Rule::Spec { head, bodies, .. } => {
            let valued = match head {
                RuleHead::Compr { assign, .. } | RuleHead::Func { assign, .. } => assign.is_some(),
                RuleHead::Set { .. } => false,
            };
            bodies.is_empty() && !valued
        }
    }
}

/// The library's message, which spreads over lines and shows the source, as one line that names the place.
pub(super) fn located(error: &str, otherwise: &str) -> String {
    let error = error.trim();
    let last = error.lines().last().unwrap_or_default();
    let what = last.strip_prefix("error: ").unwrap_or(last);
    match place(error) {
        Some(place) => format!("{place}: {what}"),
        None => format!("{otherwise}: {what}"),
    }
}

/// `file:line:column` of an error.
fn place(error: &str) -> Option<&str> {
    error.lines().find_map(|line| line.strip_prefix("--> "))
}

fn position(error: &str) -> Option<(u32, u32)> {
    let mut parts = place(error)?.rsplit(':').map(str::parse);
    let (column, line) = (parts.next()?.ok()?, parts.next()?.ok()?);
    Some((line, column))
}
