//! A graph in the language of Graphviz.

use super::{Level, Mark, Picture, is_denial};

/// The lineage as a directed graph, earliest entries on top.
pub(crate) fn draw(picture: &Picture<'_>) -> String {
    let mut graph = String::from("digraph lineage {\n");
    let label =
        [picture.name.to_owned(), picture.verdict()].map(|line| escaped(&crate::text::message(&line)));
    graph.push_str(&format!(
        "  graph [charset=\"UTF-8\", label=\"{}\", labelloc=\"t\"];\n",
        label.join("\\n")
    ));
    graph.push_str("  node [shape=box, style=\"rounded,filled\", fontname=\"Helvetica\", fontsize=11];\n");
    graph.push_str("  edge [fontname=\"Helvetica\", fontsize=9];\n");
    for entry in picture.entries {
        let mut lines = picture.lines(entry, 48);
        lines.extend(picture.trouble(entry));
        let label: Vec<String> = lines.iter().map(|line| escaped(line)).collect();
        let denied = if is_denial(entry) { ", peripheries=2" } else { "" };
        graph.push_str(&format!(
            "  n{} [label=\"{}\", tooltip=\"{}\", {}{denied}];\n",
            entry.index,
            label.join("\\n"),
            escaped(&entry.hash),
            style(picture.mark(entry)),
        ));
    }
    for edge in picture.edges() {
        let colour = match edge.level {
            Level::High => "#1b6e33",
            Level::Middle => "#8a5a00",
            Level::Low => "#b3261e",
            Level::Unknown => "#5f6368",
        };
        let line = if edge.tainted { ", style=dashed, penwidth=2" } else { "" };
        graph.push_str(&format!(
            "  n{} -> n{} [label=\"{}\", color=\"{colour}\", fontcolor=\"{colour}\"{line}];\n",
            edge.from,
            edge.to,
            escaped(&edge.label)
        ));
    }
    graph.push_str("}\n");
    graph
}

fn style(mark: Mark) -> &'static str {
    match mark {
        Mark::Verified => r##"fillcolor="#e3f3e6", color="#1b6e33""##,
        Mark::NotVerified => r##"style="rounded,filled,dashed", fillcolor="#f4f1e6", color="#7a6a1f""##,
        Mark::Failed | Mark::Broken => r##"fillcolor="#fde7e5", color="#b3261e", penwidth=3"##,
    }
}

/// Text inside quotes. Graphviz reads escapes such as `\N` there, and entities such as `&lt;`.
fn escaped(text: &str) -> String {
    let mut label = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => label.push_str("\\\""),
            '\\' => label.push_str("\\\\"),
            '&' => label.push_str("&amp;"),
            '<' => label.push_str("&lt;"),
            '>' => label.push_str("&gt;"),
            other if other.is_control() => label.push('\u{fffd}'),
            other => label.push(other),
        }
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_does_not_end_its_string() {
        assert_eq!(escaped(r#"a"b\N&lt;<b>"#), r#"a\"b\\N&amp;lt;&lt;b&gt;"#);
        assert_eq!(escaped("a\nb\u{0}"), "a\u{fffd}b\u{fffd}");
    }
}
