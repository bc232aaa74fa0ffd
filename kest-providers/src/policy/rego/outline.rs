//! What the rules of a module refer to: names resolved as Rego does, before anything is evaluated.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{AssignOp, Expr, Literal, Module, Query, Rule, RuleAssign, RuleHead};

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
}

/// One definition of a rule.
#[derive(Debug)]
pub(super) struct RuleOutline {
    pub(super) path: Path,
    pub(super) is_function: bool,
    pub(super) line: u32,
    pub(super) references: Vec<Reference>,
    pub(super) builtins: Vec<(String, u32)>,
    /// The line of an expression that this reading does not know.
    pub(super) unknown: Option<u32>,
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
        for import in &module.imports {
            let chain = Chain::of(&import.refr);
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
            names.own.extend(Chain::of(head(rule)).head().first().cloned());
        }
        let rules = module.policy.iter().map(|rule| names.rule(rule)).collect();
        Self { file: file.to_owned(), package, rules, imports }
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
        };
        let mut is_function = false;
        match rule {
            Rule::Default { refr, args, value, .. } => {
                is_function = !args.is_empty();
                walk.parts(refr);
                walk.expr(value);
            }
            Rule::Spec { head, bodies, .. } => {
                let mut bound = BTreeSet::new();
                if let RuleHead::Func { args, .. } = head {
                    is_function = true;
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
        let Walk { references, builtins, unknown, .. } = walk;
        RuleOutline { path, is_function, line: rule.span().line, references, builtins, unknown }
    }
}

struct Walk<'n> {
    names: &'n Names<'n>,
    scopes: Vec<BTreeSet<String>>,
    references: Vec<Reference>,
    builtins: Vec<(String, u32)>,
    unknown: Option<u32>,
}

impl Walk<'_> {
    fn query(&mut self, query: &Query, then: &mut dyn FnMut(&mut Self)) {
        self.scopes.push(declared(query));
        for statement in &query.stmts {
            match &statement.literal {
                Literal::SomeVars { .. } => {}
                Literal::SomeIn { key, value, collection, .. } => {
                    key.iter().chain([value, collection]).for_each(|expr| self.expr(expr));
                }
                Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => self.expr(expr),
                Literal::Every { key, value, domain, query, .. } => {
                    self.expr(domain);
                    let bound = key.iter().chain([value]).map(|span| span.text().to_owned());
                    self.scopes.push(bound.collect());
                    self.query(query, &mut |_| {});
                    self.scopes.pop();
                }
            }
            for with in &statement.with_mods {
                self.expr(&with.refr);
                self.expr(&with.r#as);
            }
        }
        then(self);
        self.scopes.pop();
    }

    fn assign(&mut self, assign: Option<&RuleAssign>) {
        if let Some(assign) = assign {
            self.expr(&assign.value);
        }
    }

    /// What is computed inside a reference.
    fn parts(&mut self, reference: &Expr) {
        for part in &Chain::of(reference).parts {
            if let Part::Computed(index) = part {
                self.expr(index);
            }
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. } => {}
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => self.reference(expr),
            Expr::Array { items, .. } | Expr::Set { items, .. } => {
                items.iter().for_each(|item| self.expr(item));
            }
            Expr::Object { fields, .. } => {
                for (_, key, value) in fields {
                    self.expr(key);
                    self.expr(value);
                }
            }
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.query(query, &mut |walk| walk.expr(term));
            }
            Expr::ObjectCompr { key, value, query, .. } => self.query(query, &mut |walk| {
                walk.expr(key);
                walk.expr(value);
            }),
            Expr::Call { fcn, params, .. } => {
                self.call(fcn);
                params.iter().for_each(|param| self.expr(param));
            }
            Expr::UnaryExpr { expr, .. } => self.expr(expr),
            Expr::BinExpr { lhs, rhs, .. }
            | Expr::BoolExpr { lhs, rhs, .. }
            | Expr::ArithExpr { lhs, rhs, .. }
            | Expr::AssignExpr { lhs, rhs, .. } => {
                self.expr(lhs);
                self.expr(rhs);
            }
            Expr::Membership { key, value, collection, .. } => {
                key.iter().chain([value, collection]).for_each(|expr| self.expr(expr));
            }
            // The library grows expressions with its features, whoever turns them on: none goes unread.
            #[allow(
                unreachable_patterns,
                reason = "which expressions there are depends on regorus' features"
            )]
            _ => self.unknown = Some(expr.span().line),
        }
    }

    fn reference(&mut self, expr: &Expr) {
        let chain = Chain::of(expr);
        match chain.root() {
            Some(root) => {
                if let Some(path) = self.resolve(root, chain.constants()) {
                    self.references.push(Reference { path, line: expr.span().line });
                }
            }
            None => self.expr(chain.base),
        }
        self.parts(expr);
    }

    fn call(&mut self, function: &Expr) {
        let chain = Chain::of(function);
        let line = function.span().line;
        match chain.root() {
            Some(root) => match self.resolve(root, chain.constants()) {
                Some(path) => self.references.push(Reference { path, line }),
                None => self.builtins.push((chain.head().join("."), line)),
            },
            None => self.unknown = Some(line),
        }
    }

    /// Where a name leads below `data`, if it does.
    fn resolve(&self, root: &str, rest: Path) -> Option<Path> {
        if self.scopes.iter().any(|scope| scope.contains(root)) {
            return None;
        }
        if root == "data" {
            return Some(rest);
        }
        if self.names.own.contains(root) {
            let own = self.names.package.iter().cloned().chain([root.to_owned()]);
            return Some(own.chain(rest).collect());
        }
        let alias = self.names.aliases.get(root)?;
        Some(alias.iter().cloned().chain(rest).collect())
    }
}

/// The variables that a query's own statements declare.
fn declared(query: &Query) -> BTreeSet<String> {
    let mut bound = BTreeSet::new();
    for statement in &query.stmts {
        match &statement.literal {
            Literal::SomeVars { vars, .. } => bound.extend(vars.iter().map(|span| span.text().to_owned())),
            Literal::SomeIn { key, value, .. } => {
                key.iter().chain([value]).for_each(|expr| pattern(expr, &mut bound));
            }
            Literal::Expr { expr, .. } => {
                if let Expr::AssignExpr { op: AssignOp::ColEq, lhs, .. } = &**expr {
                    pattern(lhs, &mut bound);
                }
            }
            Literal::NotExpr { .. } | Literal::Every { .. } => {}
        }
    }
    bound
}

/// The variables of a pattern.
fn pattern(expr: &Expr, bound: &mut BTreeSet<String>) {
    match expr {
        Expr::Var { span, .. } => {
            bound.insert(span.text().to_owned());
        }
        Expr::Array { items, .. } | Expr::Set { items, .. } => {
            items.iter().for_each(|item| pattern(item, bound));
        }
        Expr::Object { fields, .. } => fields.iter().for_each(|(_, _, value)| pattern(value, bound)),
        _ => {}
    }
}
