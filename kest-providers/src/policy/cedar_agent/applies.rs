//! For which policy name a Cedar policy is: as much of its head as tells.

use crate::policy::cedar_form::ACTION;

/// What the head of a policy says.
pub(super) enum Applies {
    /// For the action of this name.
    To(String),
    /// For an action of another type.
    ToNoName,
    /// For every action, for a group's members, or it cannot be told.
    ToAny,
}

pub(super) fn applies(text: &str) -> Applies {
    let Some(clause) = action_clause(text) else { return Applies::ToAny };
    let entity = clause.strip_prefix("action").and_then(|rest| rest.trim_start().strip_prefix("=="));
    // With an escape, it may be spelt otherwise.
    let Some(entity) = entity.filter(|entity| !entity.contains('\\')) else { return Applies::ToAny };
    match name(entity) {
        Some(name) => Applies::To(name.to_owned()),
        None => Applies::ToNoName,
    }
}

/// The id in `Action::"id"`.
fn name(entity: &str) -> Option<&str> {
    let id = entity.trim().strip_prefix(ACTION)?.trim_start().strip_prefix("::")?.trim_start();
    id.strip_prefix('"')?.strip_suffix('"')
}

/// What the head says of the action: `action == Action::"a/b"`.
fn action_clause(text: &str) -> Option<String> {
    let mut clauses = vec![String::new()];
    let mut word = String::new();
    let (mut depth, mut in_head) = (0_usize, false);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let mut piece = String::from(c);
        match c {
            '"' => loop {
                let inside = rest.next()?;
                piece.push(inside);
                match inside {
                    '\\' => piece.push(rest.next()?),
                    '"' => break,
                    _ => {}
                }
            },
            '/' if rest.peek() == Some(&'/') => {
                rest.by_ref().find(|c| *c == '\n');
                piece = " ".to_owned();
            }
            '(' => {
                depth += 1;
                if depth == 1 && matches!(word.as_str(), "permit" | "forbid") {
                    in_head = true;
                    continue;
                }
            }
            ')' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 && in_head {
                    break;
                }
            }
            '[' if in_head => depth += 1,
            ']' if in_head => depth = depth.checked_sub(1)?,
            ',' if in_head && depth == 1 => {
                clauses.push(String::new());
                continue;
            }
            _ => {}
        }
        if c.is_alphanumeric() || matches!(c, '_' | '@') {
            word.push(c);
        } else if !c.is_whitespace() || rest.peek().is_some_and(|next| next.is_alphanumeric() || *next == '@')
        {
            word.clear();
        }
        if in_head {
            clauses.last_mut()?.push_str(&piece);
        }
    }
    Some(clauses.get(1)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_apply(text: &str, name: &str) -> bool {
        match applies(text) {
            Applies::To(only) => only == name,
            Applies::ToNoName => false,
            Applies::ToAny => true,
        }
    }

    #[test]
    fn a_head_tells_for_which_action_a_policy_is() {
        for mine in [
            r#"permit(principal, action == Action::"a/b", resource);"#,
            r#"forbid ( principal == Workload::"x, action == \"", action==Action :: "a/b" , resource ) unless { true };"#,
            r#"@reason("see permit(a, b)") permit (principal, action == Action::"a/b", resource) when { 1 in [1, 2] };"#,
            "// permit(principal, action == Action::\"c\", resource);\npermit(\n  principal,\n  // which, then\n  \
             action == Action::\"a/b\",\n  resource\n);",
            r#"permit(principal, action, resource) when { action == Action::"c" };"#,
            r#"permit(principal, action in Action::"all", resource);"#,
            r#"permit(principal, action in [Action::"c", Action::"d"], resource);"#,
            r#"permit(principal, action == Action::"a\u{2f}b", resource);"#,
            // No policy at all.
            "",
            "permit",
            "permit(principal",
            r#"permit(principal, action == Action::"a/b"#,
            ")",
        ] {
            assert!(may_apply(mine, "a/b"), "{mine}");
        }
        for other in [
            r#"permit(principal, action == Action::"a", resource);"#,
            r#"permit(principal, action == Action::"a/bc", resource);"#,
            r#"permit(principal, action == Action::"a /b", resource);"#,
            r#"permit(principal, action == Other::Action::"a/b", resource);"#,
            r#"@id("permit") @x("(") forbid(principal in Group::"g", action == Action::"c", resource);"#,
            r#"permit(principal, action == Action::"c", resource) when { action == Action::"a/b" };"#,
            r#"permit(principal, action == Action::"c", resource == Resource::"Action::a/b");"#,
        ] {
            assert!(!may_apply(other, "a/b"), "{other}");
        }
    }
}
