//! Which policies may take the fast path.
//!
//! regorus evaluates in two ways: an interpreter, and a virtual machine that is several times faster. The machine
//! turns an error inside a rule that another rule uses (a built-in's, or two results of one rule) into "undefined",
//! where the interpreter fails; `not` of undefined is true, so that could allow what must be refused. Hence the
//! machine gets only rules in which nothing can fail: comparisons and membership of the input's members,
//! constants, and other such rules whose only result is one constant, in a module all of whose rules are plain names
//! (`x.y` is a part of `x`, which the machine does not see). On those the two agree, which is tested.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Value;
use regorus::unstable::{Expr, Literal, Module, Rule, RuleHead};

use super::outline::{constant_text, head};
use super::parse::bare;
use super::reads::Reads;

/// If a rule of the module, and whatever it uses, is plain: what they read of the input.
pub(super) fn plain(module: &Module, rule: &str) -> Option<Reads> {
    let mut definitions: BTreeMap<&str, Vec<&Rule>> = BTreeMap::new();
    for rule in &module.policy {
        // `x.y` is a part of `x`, and in conflict with a rule of that name.
        let Expr::Var { span, .. } = head(rule) else { return None };
        definitions.entry(span.text()).or_default().push(rule);
    }
    let mut done = BTreeSet::new();
    let mut uses = Uses { rules: vec![rule], reads: Reads::NOTHING };
    while let Some(name) = uses.rules.pop() {
        if !done.insert(name) {
            continue;
        }
        let mut result = None;
        for rule in definitions.get(name)? {
            match plain_rule(rule, &mut uses)? {
                Part::Default => {}
                // Two definitions with two results could be in conflict.
                Part::Result(value) if *result.get_or_insert_with(|| value.clone()) != value => return None,
                Part::Result(_) => {}
            }
        }
    }
    Some(uses.reads)
}

/// What plain rules use.
struct Uses<'m> {
    /// Rules still to be looked at.
    rules: Vec<&'m str>,
    reads: Reads,
}

enum Part {
    Default,
    Result(Value),
}

fn plain_rule<'m>(rule: &'m Rule, uses: &mut Uses<'m>) -> Option<Part> {
    match rule {
        Rule::Default { args, value, .. } => {
            (args.is_empty() && constant(value).is_some()).then_some(Part::Default)
        }
        Rule::Spec { .. } if bare(rule) => None,
        Rule::Spec { head: RuleHead::Compr { assign, .. }, bodies, .. } => {
            let result = match assign {
                None => Value::from(true),
                Some(assign) => constant(&assign.value)?,
            };
            // Several bodies of one head are alternatives, or `else` branches: left to the interpreter.
            if bodies.len() > 1 {
                return None;
            }
            for body in bodies {
                if body.is_else || body.assign.is_some() {
                    return None;
                }
                for statement in &body.query.stmts {
                    let plain = match &statement.literal {
                        Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => plain_expr(expr, uses),
                        Literal::SomeVars { .. } | Literal::SomeIn { .. } | Literal::Every { .. } => false,
                    };
                    if !plain || !statement.with_mods.is_empty() {
                        return None;
                    }
                }
            }
            Some(Part::Result(result))
        }
        Rule::Spec { head: RuleHead::Set { .. } | RuleHead::Func { .. }, .. } => None,
    }
}

fn constant(expr: &Expr) -> Option<Value> {
    match expr {
        Expr::String { value, .. }
        | Expr::RawString { value, .. }
        | Expr::Number { value, .. }
        | Expr::Bool { value, .. }
        | Expr::Null { value, .. } => Some(value.clone()),
        _ => None,
    }
}

fn plain_expr<'m>(expr: &'m Expr, uses: &mut Uses<'m>) -> bool {
    match expr {
        // Nothing declares variables here, so every name but `input` is a rule (`data` is looked up and not found).
        Expr::Var { span, .. } => {
            match span.text() {
                INPUT => uses.reads = Reads::Whole,
                rule => uses.rules.push(rule),
            }
            true
        }
        Expr::RefDot { .. } | Expr::RefBrack { .. } => match chain(expr) {
            Some((INPUT, path)) => {
                uses.reads.add(path.into_iter().map_while(|part| part));
                true
            }
            Some((rule, _)) => {
                uses.rules.push(rule);
                true
            }
            None => false,
        },
        Expr::BoolExpr { lhs, rhs, .. } => plain_expr(lhs, uses) && plain_expr(rhs, uses),
        Expr::Membership { key: None, value, collection, .. } => {
            plain_expr(value, uses) && plain_expr(collection, uses)
        }
        Expr::Array { items, .. } | Expr::Set { items, .. } => {
            items.iter().all(|item| plain_expr(item, uses))
        }
        other => constant(other).is_some(),
    }
}

const INPUT: &str = "input";

/// The name that a reference starts with, and the members that it goes through: names, or nothing for a number. Only
/// constants lead on, and the machine takes them for the very same names.
fn chain(expr: &Expr) -> Option<(&str, Vec<Option<&str>>)> {
    let mut path = Vec::new();
    let mut rest = expr;
    loop {
        rest = match rest {
            Expr::Var { span, .. } => {
                path.reverse();
                return Some((span.text(), path));
            }
            Expr::RefDot { refr, field, .. } => {
                path.push(Some(field.0.text()));
                refr
            }
            Expr::RefBrack { refr, index, .. } => {
                match &**index {
                    Expr::Number { .. } => path.push(None),
                    index => path.push(Some(constant_text(index)?)),
                }
                refr
            }
            _ => return None,
        };
    }
}
