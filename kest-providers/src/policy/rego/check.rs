//! What a set of modules must keep to before any of it is evaluated.

use std::collections::BTreeMap;

use kest_core::error::PolicyUnavailable;
use regorus::unstable::BUILTINS;

use super::outline::{Kind, Outline, Path, RuleOutline, meets};
use super::refuse;

/// Built-ins that are refused even where the library has them: they do nothing, or not what OPA's do, or are
/// undefined where OPA's fail.
const REFUSED: &[&str] = &[
    "__builtin_host_await",
    "array.slice",
    "bits.and",
    "bits.lsh",
    "bits.negate",
    "bits.or",
    "bits.rsh",
    "bits.xor",
    "http.send",
    "json.patch",
    "net.lookup_ip_addr",
    // Panics for an empty list.
    "object.subset",
    "opa.runtime",
    "print",
    "rand.intn",
    "regex.replace",
    "regex.template_match",
    // Panics for an empty text.
    "strings.count",
    "test.sleep",
    "trace",
];

/// Rules that use one another in a row.
const MAX_CHAIN: usize = 32;
/// The depth of their expressions and loops, all together.
const MAX_CHAIN_DEPTH: usize = 128;

/// Checks all modules of an engine together.
pub(super) fn check(modules: &[Outline]) -> Result<(), PolicyUnavailable> {
    for module in modules {
        check_shape(module)?;
        check_definitions(module)?;
        check_allow(module)?;
        check_builtins(module)?;
        check_overlap(module, modules)?;
    }
    check_references(modules)?;
    check_recursion(modules)
}

fn check_shape(module: &Outline) -> Result<(), PolicyUnavailable> {
    let file = &module.file;
    let allow = path_of(&module.package, "allow");
    if !module.rules.iter().any(|rule| rule.path == allow && !rule.is_function()) {
        return Err(refuse(format!(
            "`{file}` has no rule `allow`, so it decides nothing; \
             add one (a file of helpers says `default allow := false`)"
        )));
    }
    if let Some((line, name)) = &module.shadow {
        return Err(refuse(format!("{file}:{line}: `{name}` already has a meaning; choose another name")));
    }
    match module.rules.iter().find_map(|rule| rule.unknown) {
        Some(line) => {
            Err(refuse(format!("{file}:{line}: this engine does not know the expression; rewrite it")))
        }
        None => Ok(()),
    }
}

/// As OPA's compiler: the definitions of a rule all make the same, one default at most, and nothing lies below a rule
/// that is no part of it.
fn check_definitions(module: &Outline) -> Result<(), PolicyUnavailable> {
    let mut known: BTreeMap<&Path, (&RuleOutline, bool)> = BTreeMap::new();
    let conflict = |rule: &RuleOutline, other: &RuleOutline| {
        Err(refuse(format!(
            "{}:{}: rule `{}` conflicts with rule `{}` of line {}; rename one of them",
            module.file,
            rule.line,
            rule.path.join("."),
            other.path.join("."),
            other.line
        )))
    };
    for rule in &module.rules {
        let (first, default) = known.entry(&rule.path).or_insert((rule, false));
        if first.kind != rule.kind {
            return conflict(rule, first);
        }
        if rule.is_default && std::mem::replace(default, true) {
            return Err(refuse(format!(
                "{}:{}: rule `{}` has a second default; leave one",
                module.file,
                rule.line,
                rule.path.join(".")
            )));
        }
    }
    for rule in &module.rules {
        for end in module.package.len() + 1..rule.path.len() {
            let above = rule.path.get(..end).and_then(|path| known.get(&path.to_vec()));
            if let Some((above, _)) = above {
                return conflict(rule, above);
            }
        }
    }
    Ok(())
}

/// Only `true` allows: what makes `allow` anything but a boolean is a slip.
fn check_allow(module: &Outline) -> Result<(), PolicyUnavailable> {
    let allow = path_of(&module.package, "allow");
    let refused = |rule: &RuleOutline, what: &str| {
        Err(refuse(format!(
            "{}:{}: `allow` is {what}, and only the boolean `true` allows; write `allow if …`",
            module.file, rule.line
        )))
    };
    for rule in module.rules.iter().filter(|rule| rule.path == allow) {
        match rule.kind {
            Kind::Set => return refused(rule, "a set"),
            Kind::Members => return refused(rule, "an object"),
            Kind::Value if rule.no_boolean => return refused(rule, "no boolean"),
            Kind::Value | Kind::Function(_) => {}
        }
    }
    Ok(())
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

/// Rego forbids recursion, and the library would overflow its stack; as it would on rules that use one another in too
/// long a row.
fn check_recursion(modules: &[Outline]) -> Result<(), PolicyUnavailable> {
    let mut nodes: BTreeMap<&Path, Node<'_>> = BTreeMap::new();
    for module in modules {
        for rule in &module.rules {
            let node = nodes.entry(&rule.path).or_insert_with(|| Node {
                file: &module.file,
                line: rule.line,
                depth: 0,
                uses: Vec::new(),
                state: State::New,
            });
            node.depth = node.depth.max(rule.depth);
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
                    let Some(node) = nodes.get(path) else { continue };
                    let used = paths.iter().filter(|p| node.uses.iter().any(|u| meets(u, p)));
                    let below = used.filter_map(|path| match nodes.get(path)?.state {
                        State::Done { rules, depth } => Some((rules, depth)),
                        State::New | State::Open => None,
                    });
                    let (below, deep) = below.fold((0, 0), |a, b| (a.0.max(b.0), a.1.max(b.1)));
                    let (rules, depth) = (below + 1, deep + node.depth);
                    if rules > MAX_CHAIN || depth > MAX_CHAIN_DEPTH {
                        return Err(refuse(format!(
                            "{}:{}: rule `{}` stands on a row of {rules} rules, {depth} expressions and loops deep \
                             (limits {MAX_CHAIN} and {MAX_CHAIN_DEPTH}); make some of them one",
                            node.file,
                            node.line,
                            path.join(".")
                        )));
                    }
                    if let Some(node) = nodes.get_mut(path) {
                        node.state = State::Done { rules, depth };
                    }
                }
                Step::Enter(path) => {
                    let Some(node) = nodes.get_mut(path) else { continue };
                    match node.state {
                        State::Done { .. } => {}
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
    depth: usize,
    uses: Vec<&'a Path>,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    New,
    Open,
    /// The rules in the longest row from here, and the depth of the deepest.
    Done {
        rules: usize,
        depth: usize,
    },
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
pub(super) fn refers_outside(module: &Outline, all: &[Outline]) -> bool {
    let package = &module.package;
    let below: Vec<_> = all.iter().map(|other| &other.package).filter(|other| *other != package).collect();
    let below: Vec<_> = below.into_iter().filter(|other| other.starts_with(package)).collect();
    // `data.a.b.x` in the package `a` is of the package `a.b` where there is one, and `data.a` is all of both.
    let elsewhere = |path: &Vec<String>| {
        !path.starts_with(package)
            || below.iter().any(|other| path.starts_with(other) || other.starts_with(path))
    };
    let references = module.rules.iter().flat_map(|rule| &rule.references).chain(&module.imports);
    references.into_iter().any(|reference| elsewhere(&reference.path))
}
