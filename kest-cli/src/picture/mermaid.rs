//! A flowchart for Mermaid, as Markdown viewers draw it.

use super::{Mark, Picture, is_denial};

/// The lineage as a flowchart, earliest entries on top.
pub(crate) fn draw(picture: &Picture<'_>) -> String {
    let mut chart = String::from("flowchart TD\n");
    chart.push_str("  accTitle: Lineage\n");
    chart.push_str(&format!("  accDescr: {}\n", plain(&picture.verdict())));
    for entry in picture.entries {
        let mut lines = picture.lines(entry, 48);
        lines.extend(picture.trouble(entry));
        let label: Vec<String> = lines.iter().map(|line| escaped(line)).collect();
        chart.push_str(&format!("  n{}[\"{}\"]\n", entry.index, label.join("<br/>")));
    }
    if picture.entries.is_empty() {
        chart.push_str(&format!("  nothing[\"{}\"]\n", escaped(&picture.verdict())));
    }
    let edges = picture.edges();
    for edge in &edges {
        let arrow = if edge.tainted { "-. \"" } else { "-- \"" };
        let head = if edge.tainted { "\" .->" } else { "\" -->" };
        chart.push_str(&format!("  n{} {arrow}{}{head} n{}\n", edge.from, escaped(&edge.label), edge.to));
    }
    for mark in Mark::ALL {
        let of_mark = picture.entries.iter().filter(|entry| picture.mark(entry) == mark);
        let names: Vec<String> = of_mark.map(|entry| format!("n{}", entry.index)).collect();
        classes(&mut chart, &names, mark.class(), style(mark));
    }
    let denied = picture.entries.iter().filter(|entry| is_denial(entry));
    let denied: Vec<String> = denied.map(|entry| format!("n{}", entry.index)).collect();
    classes(&mut chart, &denied, "denied", "stroke:#b3261e,stroke-width:4px");
    chart
}

fn classes(chart: &mut String, names: &[String], class: &str, style: &str) {
    if names.is_empty() {
        return;
    }
    chart.push_str(&format!("  classDef {class} {style}\n"));
    // A line of any length is read, but not edited.
    for some in names.chunks(50) {
        chart.push_str(&format!("  class {} {class}\n", some.join(",")));
    }
}

fn style(mark: Mark) -> &'static str {
    match mark {
        Mark::Verified => "fill:#e3f3e6,stroke:#1b6e33,color:#10301a",
        Mark::NotVerified => "fill:#f4f1e6,stroke:#7a6a1f,color:#332c0d,stroke-dasharray:5 4",
        Mark::Failed | Mark::Broken => "fill:#fde7e5,stroke:#b3261e,color:#410e0b,stroke-width:3px",
    }
}

/// Text inside quotes: whatever Mermaid, Markdown or HTML could take for its own stands as a number. Mermaid writes
/// `#35;` for the character with that code point.
fn escaped(text: &str) -> String {
    let mut label = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' | '.' | ',' | '/' | '+' => label.push(c),
            '·' | '●' | '○' | '✗' | '⊘' | '→' | '−' | '…' => label.push(c),
            other if other.is_alphabetic() => label.push(other),
            other => label.push_str(&format!("#{};", u32::from(other))),
        }
    }
    label
}

/// Text of an accessible description, where nothing can be escaped.
fn plain(text: &str) -> String {
    let keep = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '.' | ',' | ':' | '-' | '(' | ')');
    text.chars().map(|c| if c == ';' { ',' } else { c }).filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_label_is_markup() {
        let evil = "\"]-->x[<script>alert(1)</script>`**b**`#quot;&amp;%%{init}%% style a:#1;|;\u{0}\\";
        let label = escaped(evil);
        assert!(
            !label.contains(['"', '<', '>', '[', ']', '&', '`', '*', '%', '{', '|', ':', '\\', '-']),
            "{label}"
        );
        // Each number sign begins the number of one character.
        for rest in label.split('#').skip(1) {
            let (number, _) = rest.split_once(';').unwrap();
            assert!(number.parse::<u32>().is_ok(), "{label}");
        }
    }
}
