//! What the rules of a module refer to: names resolved as Rego does, before anything is evaluated.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{Expr, Module, Rule, RuleHead};

use self::walk::{Walk, declared, pattern};

mod walk;

/// A path below `data`, such as `["kest", "allow_trusted", "allow"]`.
pub(super) type Path = Vec<String>;

/// A module and what it refers to.
#[derive(Debug)]
pub(super) struct Outline {
    pub(super) file: String,
    pub(super) package: Path,
    /// One per definition: a rule may have several.
    pub(super) rules: Vec<RuleOutline>,
    /// What `import data.…` names.
    pub(super) imports: Vec<Reference>,
    /// A line that gives a name a second meaning, and the name.
    pub(super) shadow: Option<(u32, String)>,
}

/// One definition of a rule.
#[derive(Debug)]
pub(super) struct RuleOutline {
    pub(super) path: Path,
    pub(super) kind: Kind,
    pub(super) is_default: bool,
    pub(super) line: u32,
    /// Whether a value that it is given in so many words is no boolean.
    pub(super) no_boolean: bool,
    /// How deep its expressions are.
    pub(super) depth: usize,
    pub(super) references: Vec<Reference>,
    pub(super) builtins: Vec<(String, u32)>,
    /// The line of an expression that this reading does not know.
    pub(super) unknown: Option<u32>,
}

impl RuleOutline {
    pub(super) fn is_function(&self) -> bool {
        matches!(self.kind, Kind::Function(_))
    }
}

/// What a rule makes. All its definitions make the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Value,
    Set,
    /// An object, member by member.
    Members,
    /// A function of so many arguments.
    Function(usize),
}

/// A use of something below `data`, up to its first part that is not constant.
#[derive(Debug)]
pub(super) struct Reference {
    pub(super) path: Path,
    pub(super) line: u32,
}

impl Outline {
    pub(super) fn of(module: &Module, file: &str) -> Self {
        // A package is `data` and constants: the parser lets nothing else through.
        let package = Chain::of(&module.package.refr).head();
        let mut names = Names { package: &package, own: BTreeSet::new(), aliases: BTreeMap::new() };
        let mut imports = Vec::new();
        for rule in &module.policy {
            names.own.extend(Chain::of(head(rule)).head().first().cloned());
        }
        let mut shadow = None;
        let reserved = |name: &str| name == "input" || name == "data";
        for import in &module.imports {
            let chain = Chain::of(&import.refr);
            if !chain.root().is_some_and(reserved) {
                continue;
            }
            // `import input` and `import data` change nothing.
            let alias = import.r#as.as_ref().map(|span| span.text().to_owned()).or(chain
                .parts
                .last()
                .and_then(|part| match part {
                    Part::Constant(name) => Some(name.clone()),
                    Part::Computed(_) => None,
                }));
            if let Some(alias) = alias.filter(|alias| reserved(alias) || names.own.contains(alias)) {
                shadow.get_or_insert((import.span.line, alias));
            }
            if chain.root() != Some("data") {
                continue;
            }
            let path = chain.constants();
            if let Some(alias) =
                import.r#as.as_ref().map(|span| span.text().to_owned()).or(path.last().cloned())
            {
                names.aliases.insert(alias, path.clone());
            }
            imports.push(Reference { path, line: import.span.line });
        }
        for rule in &module.policy {
            if let Some(name) = root(head(rule)).filter(|name| reserved(name)) {
                shadow.get_or_insert((rule.span().line, name.to_owned()));
            }
        }
        let rules = module.policy.iter().map(|rule| names.rule(rule)).collect();
        Self { file: file.to_owned(), package, rules, imports, shadow }
    }
}

/// Whether one path leads to, or through, what the other names.
pub(super) fn meets(a: &[String], b: &[String]) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

/// The constant text of an expression.
pub(super) fn constant_text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::String { value, .. } | Expr::RawString { value, .. } => value.as_string().ok().map(|s| &**s),
        _ => None,
    }
}

/// The reference that a rule's head is.
pub(super) fn head(rule: &Rule) -> &Expr {
    match rule {
        Rule::Spec { head, .. } => match head {
            RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } | RuleHead::Func { refr, .. } => refr,
        },
        Rule::Default { refr, .. } => refr,
    }
}

/// The name that a reference starts with.
pub(super) fn root(reference: &Expr) -> Option<&str> {
    Chain::of(reference).root()
}

/// A reference taken apart: `a.b[c].d` is the base `a` and three parts.
struct Chain<'e> {
    base: &'e Expr,
    parts: Vec<Part<'e>>,
}

enum Part<'e> {
    Constant(String),
    Computed(&'e Expr),
}

impl<'e> Chain<'e> {
    fn of(expr: &'e Expr) -> Self {
        let mut parts = Vec::new();
        let mut base = expr;
        loop {
            base = match base {
                Expr::RefDot { refr, field, .. } => {
                    let name = field.1.as_string().map_or_else(|_| field.0.text(), |s| &**s);
                    parts.push(Part::Constant(name.to_owned()));
                    refr
                }
                Expr::RefBrack { refr, index, .. } => {
                    parts.push(match constant_text(index) {
                        Some(text) => Part::Constant(text.to_owned()),
                        None => Part::Computed(index),
                    });
                    refr
                }
                _ => break,
            };
        }
        parts.reverse();
        Self { base, parts }
    }

    fn root(&self) -> Option<&'e str> {
        match self.base {
            Expr::Var { span, .. } => Some(span.text()),
            _ => None,
        }
    }

    /// The constant parts up to the first computed one.
    fn constants(&self) -> Path {
        let constants = self.parts.iter().map_while(|part| match part {
            Part::Constant(name) => Some(name.clone()),
            Part::Computed(_) => None,
        });
        constants.collect()
    }

    /// The whole chain as a name: its root and the constant parts.
    fn head(&self) -> Path {
        self.root().map(str::to_owned).into_iter().chain(self.constants()).collect()
    }
}

struct Names<'p> {
    package: &'p [String],
    own: BTreeSet<String>,
    aliases: BTreeMap<String, Path>,
}

impl Names<'_> {
    fn rule(&self, rule: &Rule) -> RuleOutline {
        let path = self.package.iter().cloned().chain(Chain::of(head(rule)).head()).collect();
        let mut walk = Walk {
            names: self,
            scopes: Vec::new(),
            references: Vec::new(),
            builtins: Vec::new(),
            unknown: None,
            depth: 0,
            loops: 0,
            deepest: 0,
        };
        let (kind, is_default) = kind(rule);
        match rule {
            Rule::Default { refr, args, value, .. } => {
                let mut bound = BTreeSet::new();
                args.iter().for_each(|arg| pattern(arg, &mut bound));
                walk.scopes.push(bound);
                walk.parts(refr);
                walk.expr(value);
            }
            Rule::Spec { head, bodies, .. } => {
                let mut bound = BTreeSet::new();
                if let RuleHead::Func { args, .. } = head {
                    args.iter().for_each(|arg| pattern(arg, &mut bound));
                }
                walk.scopes.push(bound);
                walk.scopes.push(bodies.iter().flat_map(|body| declared(&body.query)).collect());
                match head {
                    RuleHead::Compr { refr, assign, .. } => {
                        walk.parts(refr);
                        walk.assign(assign.as_ref());
                    }
                    RuleHead::Set { refr, key, .. } => {
                        walk.parts(refr);
                        key.iter().for_each(|key| walk.expr(key));
                    }
                    RuleHead::Func { refr, args, assign, .. } => {
                        walk.parts(refr);
                        args.iter().for_each(|arg| walk.expr(arg));
                        walk.assign(assign.as_ref());
                    }
                }
                walk.scopes.pop();
                for body in bodies {
                    walk.query(&body.query, &mut |walk| walk.assign(body.assign.as_ref()));
                }
            }
        }
        let Walk { references, builtins, unknown, deepest: depth, .. } = walk;
        let no_boolean = values(rule).any(no_boolean);
        let line = rule.span().line;
        RuleOutline { path, kind, is_default, line, no_boolean, depth, references, builtins, unknown }
    }
}

/// The values that a rule is given: of its head, and of each `else`.
fn values(rule: &Rule) -> impl Iterator<Item = &Expr> {
    let (first, bodies) = match rule {
        Rule::Default { value, .. } => (Some(&**value), &[][..]),
        Rule::Spec { head, bodies, .. } => {
            let assign = match head {
                RuleHead::Compr { assign, .. } | RuleHead::Func { assign, .. } => assign.as_ref(),
                RuleHead::Set { .. } => None,
            };
            (assign.map(|assign| &*assign.value), &bodies[..])
        }
    };
    first.into_iter().chain(bodies.iter().filter_map(|body| Some(&*body.assign.as_ref()?.value)))
}

/// Whether the expression alone says that its value is neither `true` nor `false`.
fn no_boolean(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Null { .. }
            | Expr::Array { .. }
            | Expr::Set { .. }
            | Expr::Object { .. }
            | Expr::ArrayCompr { .. }
            | Expr::SetCompr { .. }
            | Expr::ObjectCompr { .. }
            | Expr::UnaryExpr { .. }
            | Expr::BinExpr { .. }
            | Expr::ArithExpr { .. }
    )
}

fn kind(rule: &Rule) -> (Kind, bool) {
    let value = |refr| {
        let computed = Chain::of(refr).parts.iter().any(|part| matches!(part, Part::Computed(_)));
        if computed { Kind::Members } else { Kind::Value }
    };
    match rule {
        Rule::Default { refr, args, .. } if args.is_empty() => (value(refr), true),
        Rule::Default { args, .. } => (Kind::Function(args.len()), true),
        Rule::Spec { head, .. } => match head {
            RuleHead::Compr { refr, .. } => (value(refr), false),
            RuleHead::Set { .. } => (Kind::Set, false),
            RuleHead::Func { args, .. } => (Kind::Function(args.len()), false),
        },
    }
}
