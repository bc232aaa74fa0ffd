//! A lineage as lines: parents above, children below, forks and joins in columns.
//!
//! A column belongs to an entry from its row to that of its last child. A child stands under a parent that needs its
//! column no longer, else in a free one; horizontal strokes lead to its other parents.

/// The strokes of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Left of the entry's mark.
    pub(crate) before: String,
    /// Right of it.
    pub(crate) after: String,
    /// The row under it.
    pub(crate) below: String,
    /// Whether the next entry would seem to be a child without a row in between.
    pub(crate) gap: bool,
}

/// Wider than this nobody can follow the lines.
const WIDEST: usize = 32;

/// Draws a lineage, given the parents of each entry. A parent must come before its children.
///
/// None when it takes too many columns.
pub(crate) fn draw(parents: &[Vec<usize>]) -> Option<Vec<Row>> {
    let mut children = vec![0_usize; parents.len()];
    for parent in parents.iter().flatten() {
        *children.get_mut(*parent)? += 1;
    }
    let mut columns: Vec<Option<usize>> = Vec::new();
    let mut rows: Vec<Row> = Vec::with_capacity(parents.len());
    // The column in which the last row ended without a child.
    let mut ended = None;
    for (entry, parents) in parents.iter().enumerate() {
        for parent in parents {
            *children.get_mut(*parent)? -= 1;
        }
        let last_child = |parent: usize| children.get(parent) == Some(&0);
        let reaches = |column: &Option<usize>| column.is_some_and(|lane| parents.contains(&lane));
        let inherited = columns.iter().position(|column| reaches(column) && column.is_some_and(last_child));
        let own = match inherited.or_else(|| columns.iter().position(Option::is_none)) {
            Some(column) => column,
            None => {
                columns.push(None);
                columns.len() - 1
            }
        };
        if columns.len() > WIDEST {
            return None;
        }
        if let (Some(row), true) = (rows.last_mut(), ended == Some(own)) {
            row.gap = true;
        }
        let ends =
            || columns.iter().enumerate().filter(|(_, column)| reaches(column)).map(|(index, _)| index);
        let (left, right) = (ends().fold(own, usize::min), ends().fold(own, usize::max));
        let mut row = Row { before: String::new(), after: String::new(), below: String::new(), gap: false };
        for (index, column) in columns.iter().enumerate() {
            let side = if index <= own { &mut row.before } else { &mut row.after };
            if index != own {
                let stays = column.is_some_and(|lane| !last_child(lane));
                side.push(match (reaches(column), column, stays) {
                    (true, _, true) if index == left => '├',
                    (true, _, true) if index == right => '┤',
                    (true, _, true) => '┼',
                    (true, _, false) if index == left => '└',
                    (true, _, false) if index == right => '┘',
                    (true, _, false) => '┴',
                    // A line that the stroke passes under.
                    (false, Some(_), _) => '│',
                    (false, None, _) if left < index && index < right => '─',
                    (false, None, _) => ' ',
                });
            }
            let side = if index < own { &mut row.before } else { &mut row.after };
            side.push(if left <= index && index < right { '─' } else { ' ' });
        }
        for column in &mut columns {
            if reaches(column) && column.is_some_and(last_child) {
                *column = None;
            }
        }
        let goes_on = !last_child(entry);
        ended = (!goes_on).then_some(own);
        if let Some(column) = columns.get_mut(own) {
            *column = goes_on.then_some(entry);
        }
        while columns.last() == Some(&None) {
            columns.pop();
        }
        for column in 0..columns.len().max(own + 1) {
            let lane = columns.get(column).is_some_and(Option::is_some);
            row.below.push_str(if lane { "│ " } else { "  " });
        }
        rows.push(row);
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(parents: &[&[usize]]) -> Vec<String> {
        let parents: Vec<Vec<usize>> = parents.iter().map(|list| list.to_vec()).collect();
        let mut lines = Vec::new();
        for (index, row) in draw(&parents).unwrap().into_iter().enumerate() {
            lines.push(format!("{}●{}{index}", row.before, row.after).trim_end().to_owned());
            if row.gap {
                lines.push(row.below.trim_end().to_owned());
            }
        }
        lines
    }

    #[test]
    fn a_chain_is_one_column() {
        assert_eq!(drawn(&[&[], &[0], &[1]]), ["● 0", "● 1", "● 2"]);
    }

    #[test]
    fn roots_join() {
        assert_eq!(drawn(&[&[], &[], &[1, 0], &[2]]), ["● 0", "│ ● 1", "●─┘ 2", "● 3"]);
    }

    #[test]
    fn a_fork_keeps_its_line_until_the_last_child() {
        assert_eq!(
            drawn(&[&[], &[0], &[0], &[0], &[3, 2, 1]]),
            ["● 0", "├─● 1", "├─│─● 2", "● │ │ 3", "●─┴─┘ 4"]
        );
    }

    #[test]
    fn a_stroke_passes_under_foreign_lines() {
        assert_eq!(
            drawn(&[&[], &[], &[], &[2, 0], &[3, 1], &[3]]),
            ["● 0", "│ ● 1", "│ │ ● 2", "●─│─┘ 3", "├─● 4", "● 5"]
        );
    }

    #[test]
    fn what_ended_has_nothing_under_it() {
        assert_eq!(drawn(&[&[], &[]]), ["● 0", "", "● 1"]);
        assert_eq!(drawn(&[&[], &[0], &[0], &[0]]), ["● 0", "├─● 1", "│", "├─● 2", "● 3"]);
    }

    #[test]
    fn a_parent_that_goes_on_stands_left_right_or_between() {
        // 1 and 2 are parents of 3 and go on.
        assert_eq!(
            drawn(&[&[], &[], &[], &[0, 1, 2], &[2], &[1], &[0]]),
            ["● 0", "│ ● 1", "│ │ ● 2", "├─┼─┼─● 3", "│ │ ● 4", "│ ● 5", "● 6"]
        );
    }

    #[test]
    fn too_wide_is_not_drawn() {
        let roots = vec![Vec::new(); 40];
        assert!(draw(&roots).is_some());
        let mut joined = roots;
        joined.push((0..40).collect());
        assert_eq!(draw(&joined), None);
    }
}
