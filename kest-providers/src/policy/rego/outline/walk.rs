//! What one definition of a rule refers to, and how deep it is.

use std::collections::BTreeSet;

use regorus::unstable::{AssignOp, Expr, Literal, Query, RuleAssign};

use super::{Chain, Names, Part, Path, Reference};

/// One definition of a rule, walked through.
pub(super) struct Walk<'n> {
    pub(super) names: &'n Names<'n>,
    pub(super) scopes: Vec<BTreeSet<String>>,
    pub(super) references: Vec<Reference>,
    pub(super) builtins: Vec<(String, u32)>,
    pub(super) unknown: Option<u32>,
    pub(super) depth: usize,
    /// What the query goes through item by item so far: the evaluator nests the rest of the query in each.
    pub(super) loops: usize,
    pub(super) deepest: usize,
}

impl Walk<'_> {
    pub(super) fn query(&mut self, query: &Query, then: &mut dyn FnMut(&mut Self)) {
        self.deeper();
        let loops = self.loops;
        self.scopes.push(declared(query));
        for statement in &query.stmts {
            match &statement.literal {
                Literal::SomeVars { .. } => {}
                Literal::SomeIn { key, value, collection, .. } => {
                    self.through_items();
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
        self.loops = loops;
        self.depth -= 1;
    }

    fn through_items(&mut self) {
        self.loops += 1;
        self.deepest = self.deepest.max(self.depth + self.loops);
    }

    fn deeper(&mut self) {
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth + self.loops);
    }

    pub(super) fn assign(&mut self, assign: Option<&RuleAssign>) {
        if let Some(assign) = assign {
            self.expr(&assign.value);
        }
    }

    /// What is computed inside a reference.
    pub(super) fn parts(&mut self, reference: &Expr) {
        for part in &Chain::of(reference).parts {
            if let Part::Computed(index) = part {
                if !matches!(index, Expr::Number { .. }) {
                    self.through_items();
                }
                self.expr(index);
            }
        }
    }

    pub(super) fn expr(&mut self, expr: &Expr) {
        self.deeper();
        self.parts_of(expr);
        self.depth -= 1;
    }

    fn parts_of(&mut self, expr: &Expr) {
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
                self.call(fcn, params.len());
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

    fn call(&mut self, function: &Expr, arguments: usize) {
        let chain = Chain::of(function);
        let line = function.span().line;
        if chain.root() == Some("walk") {
            self.through_items();
        }
        match chain.root() {
            Some(root) => match self.resolve(root, chain.constants()) {
                Some(path) => self.references.push(Reference { path, line }),
                // The library knows `walk(x, [path, value])`; the value of `walk(x)` is undefined to it.
                None if root == "walk" && arguments == 1 => self.unknown = Some(line),
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
pub(super) fn declared(query: &Query) -> BTreeSet<String> {
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
pub(super) fn pattern(expr: &Expr, bound: &mut BTreeSet<String>) {
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
