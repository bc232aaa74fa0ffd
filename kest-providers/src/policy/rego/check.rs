//! What a set of modules must keep to before any of it is evaluated.

use std::collections::BTreeMap;

use kest_core::error::PolicyUnavailable;
use regorus::unstable::BUILTINS;

use super::outline::{Outline, Path, meets};
use super::refuse;

/// Built-ins that are refused even where the library has them: they do nothing, or not what OPA's do.
const REFUSED: &[&str] = &[
    "__builtin_host_await",
    "http.send",
    "net.lookup_ip_addr",
    "opa.runtime",
    "print",
    "test.sleep",
    "trace",
];

/// Checks all modules of an engine together.
pub(super) fn check(modules: &[Outline]) -> Result<(), PolicyUnavailable> {
    for module in modules {
        check_shape(module)?;
        check_builtins(module)?;
        check_overlap(module, modules)?;
    }
    check_references(modules)?;
    check_recursion(modules)
}

fn check_shape(module: &Outline) -> Result<(), PolicyUnavailable> {
    let file = &module.file;
    let allow = path_of(&module.package, "allow");
    if !module.rules.iter().any(|rule| rule.path == allow && !rule.is_function) {
        return Err(refuse(format!(
            "`{file}` has no rule `allow`, so it decides nothing; \
             add one (a file of helpers says `default allow := false`)"
        )));
    }
    match module.rules.iter().find_map(|rule| rule.unknown) {
        Some(line) => {
            Err(refuse(format!("{file}:{line}: this engine does not know the expression; rewrite it")))
        }
        None => Ok(()),
    }
}

/// A built-in that is missing would be undefined, and `not` of that would be true.
fn check_builtins(module: &Outline) -> Result<(), PolicyUnavailable> {
    for (name, line) in module.rules.iter().flat_map(|rule| &rule.builtins) {
        let name = name.as_str();
        if REFUSED.contains(&name) || name.starts_with("io.jwt.") || !BUILTINS.contains_key(name) {
            return Err(refuse(format!(
                "{}:{line}: this engine has no built-in `{name}`; \
                 decide without it, or put the policy in an OPA server",
                module.file
            )));
        }
    }
    Ok(())
}

/// A file speaks for its own package only, so that its digest covers what its name decides.
fn check_overlap(module: &Outline, modules: &[Outline]) -> Result<(), PolicyUnavailable> {
    for rule in &module.rules {
        let foreign = modules.iter().find(|other| {
            let below =
                other.package.len() > module.package.len() && other.package.starts_with(&module.package);
            below && meets(&rule.path, &other.package)
        });
        if let Some(other) = foreign {
            return Err(refuse(format!(
                "{}:{}: rule `{}` overlaps the package of `{}`; rename one of them",
                module.file,
                rule.line,
                rule.path.join("."),
                other.file
            )));
        }
    }
    Ok(())
}

/// Data that nobody defines would be undefined, and `not` of that would be true.
fn check_references(modules: &[Outline]) -> Result<(), PolicyUnavailable> {
    let rules: Vec<&Path> = modules.iter().flat_map(|m| &m.rules).map(|rule| &rule.path).collect();
    for module in modules {
        let references = module.rules.iter().flat_map(|rule| &rule.references).chain(&module.imports);
        for reference in references {
            if !rules.iter().any(|rule| meets(rule, &reference.path)) {
                return Err(refuse(format!(
                    "{}:{}: nothing defines `data.{}`; this engine has no data but the rules it has loaded",
                    module.file,
                    reference.line,
                    reference.path.join(".")
                )));
            }
        }
    }
    Ok(())
}

/// Rego forbids recursion, and the library would overflow its stack.
fn check_recursion(modules: &[Outline]) -> Result<(), PolicyUnavailable> {
    let mut nodes: BTreeMap<&Path, Node<'_>> = BTreeMap::new();
    for module in modules {
        for rule in &module.rules {
            let node = nodes.entry(&rule.path).or_insert_with(|| Node {
                file: &module.file,
                line: rule.line,
                uses: Vec::new(),
                state: State::New,
            });
            node.uses.extend(rule.references.iter().map(|reference| &reference.path));
        }
    }
    let paths: Vec<&Path> = nodes.keys().copied().collect();
    for start in &paths {
        // A walk in depth, without recursion of its own: `Leave` comes back after everything a rule uses.
        let mut steps = vec![Step::Enter(start)];
        while let Some(step) = steps.pop() {
            match step {
                Step::Leave(path) => {
                    if let Some(node) = nodes.get_mut(path) {
                        node.state = State::Done;
                    }
                }
                Step::Enter(path) => {
                    let Some(node) = nodes.get_mut(path) else { continue };
                    match node.state {
                        State::Done => {}
                        State::Open => {
                            return Err(refuse(format!(
                                "{}:{}: rule `{}` depends on itself; Rego forbids recursion",
                                node.file,
                                node.line,
                                path.join(".")
                            )));
                        }
                        State::New => {
                            node.state = State::Open;
                            steps.push(Step::Leave(path));
                            let used = paths.iter().filter(|p| node.uses.iter().any(|u| meets(u, p)));
                            steps.extend(used.map(|path| Step::Enter(path)));
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

struct Node<'a> {
    file: &'a str,
    line: u32,
    uses: Vec<&'a Path>,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    New,
    Open,
    Done,
}

enum Step<'a> {
    Enter(&'a Path),
    Leave(&'a Path),
}

/// The path of a rule in a package.
pub(super) fn path_of(package: &[String], rule: &str) -> Path {
    package.iter().cloned().chain([rule.to_owned()]).collect()
}

/// Whether the module uses anything outside its own package.
pub(super) fn refers_outside(module: &Outline) -> bool {
    let references = module.rules.iter().flat_map(|rule| &rule.references).chain(&module.imports);
    references.into_iter().any(|reference| !reference.path.starts_with(&module.package))
}
