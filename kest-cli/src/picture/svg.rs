//! A drawing as SVG 1.1: no scripts, light or dark as whoever shows it.

use std::collections::HashMap;

use super::layout::{HEIGHT, Layout, WIDTH, lay_out};
use super::{Edge, Picture, is_denial};
use crate::text;

const STYLE: &str = include_str!("svg.css");
/// Room above for the title and the verdict.
const HEAD: f64 = 72.0;

/// The lineage as a drawing, earliest entries on top.
pub(crate) fn draw(picture: &Picture<'_>) -> String {
    let layout = lay_out(picture.parents);
    let name = escaped(&text::message(picture.name));
    let verdict = picture.verdict();
    let wide = verdict.chars().count().min(160);
    let width = layout.width.max(f64::from(u32::try_from(wide).unwrap_or_default()) * 7.0 + 64.0).max(420.0);
    let height = layout.height + HEAD;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         role=\"img\" aria-labelledby=\"title desc\">\n<title id=\"title\">Lineage of {name}</title>\n\
         <desc id=\"desc\">{}</desc>\n<style>{STYLE}</style>\n",
        escaped(&described(picture))
    );
    for level in ["high", "middle", "low", "unknown"] {
        svg.push_str(&format!(
            "<marker id=\"head-{level}\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"9\" markerHeight=\"9\" \
             markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path class=\"head {level}\" d=\"M0 0L10 5L0 10z\"/></marker>\n"
        ));
    }
    svg.push_str(&format!(
        "<rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>\n\
         <text class=\"title\" x=\"32\" y=\"34\">{name}</text>\n<text class=\"verdict\" x=\"32\" y=\"56\">{}</text>\n",
        escaped(&cut(&verdict, 160))
    ));
    svg.push_str(&format!(
        "<g transform=\"translate({} {HEAD})\">\n",
        ((width - layout.width) / 2.0).round()
    ));
    edges(&mut svg, picture, &layout);
    for entry in picture.entries {
        let Some((x, y)) = layout.places.get(entry.index) else { continue };
        let mark = picture.mark(entry);
        let denied = if is_denial(entry) { " denied" } else { "" };
        let lines = picture.lines(entry, 36);
        let mut whole = lines.clone();
        whole.extend(picture.trouble(entry));
        svg.push_str(&format!(
            "<svg class=\"entry {}{denied}\" x=\"{}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\">\
             <title>{}</title><rect x=\"2\" y=\"2\" width=\"{}\" height=\"{}\" rx=\"8\"/>",
            mark.class(),
            x - WIDTH / 2.0,
            escaped(&whole.join("\n")),
            WIDTH - 4.0,
            HEIGHT - 4.0,
        ));
        // With the line for a denial there are six.
        let step = if lines.len() > 5 { 16 } else { 18 };
        let classes: &[&str] = if is_denial(entry) {
            &["mark", "refused", "operation", "who", "trust", "taints"]
        } else {
            &["mark", "operation", "who", "trust", "taints"]
        };
        for ((line, class), y) in lines.iter().zip(classes).zip((21..).step_by(step)) {
            svg.push_str(&format!("<text class=\"{class}\" x=\"14\" y=\"{y}\">{}</text>", escaped(line)));
        }
        svg.push_str("</svg>\n");
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

fn edges(svg: &mut String, picture: &Picture<'_>, layout: &Layout) {
    let all = picture.edges();
    let (mut out, mut into): (HashMap<usize, usize>, HashMap<usize, usize>) =
        (HashMap::new(), HashMap::new());
    for edge in &all {
        *out.entry(edge.from).or_default() += 1;
        *into.entry(edge.to).or_default() += 1;
    }
    let mut labels = String::new();
    for edge in &all {
        let Some(drawn) = drawn(layout, edge) else { continue };
        let tainted = if edge.tainted { " tainted" } else { "" };
        let level = edge.level.class();
        svg.push_str(&format!(
            "<path class=\"edge {level}{tainted}\" marker-end=\"url(#head-{level})\" d=\"{}\"/>\n",
            drawn.path
        ));
        // Where it stands alone.
        let alone = if into.get(&edge.to) == Some(&1) {
            drawn.near_child
        } else if out.get(&edge.from) == Some(&1) {
            drawn.near_parent
        } else {
            drawn.middle
        };
        labels.push_str(&format!(
            "<text class=\"label {level}\" x=\"{}\" y=\"{}\">{}</text>\n",
            alone.0,
            alone.1,
            escaped(&cut(&edge.label, 44))
        ));
    }
    svg.push_str(&labels);
}

type Point = (f64, f64);

/// The path of an edge, and places for its label.
struct Drawn {
    path: String,
    near_child: Point,
    near_parent: Point,
    /// Of its last curve, which is between two layers.
    middle: Point,
}

fn drawn(layout: &Layout, edge: &Edge) -> Option<Drawn> {
    let (x0, y0) = *layout.places.get(edge.from)?;
    let (x1, y1) = *layout.places.get(edge.to)?;
    let mut at = (x0, y0 + HEIGHT - 2.0);
    let mut path = format!("M{} {}", at.0, at.1);
    for (x, y) in layout.passes(edge.from, edge.to) {
        curve(&mut path, at, (x, y));
        path.push_str(&format!("V{}", y + HEIGHT));
        at = (x, y + HEIGHT);
    }
    curve(&mut path, at, (x1, y1 + 1.0));
    Some(Drawn {
        path,
        near_child: (x1, y1 - 14.0),
        near_parent: (x0, y0 + HEIGHT + 22.0),
        middle: (f64::midpoint(at.0, x1), f64::midpoint(at.1, y1) + 4.0),
    })
}

fn curve(path: &mut String, (x0, y0): Point, (x1, y1): Point) {
    let middle = (y0 + y1) / 2.0;
    path.push_str(&format!("C{x0} {middle} {x1} {middle} {x1} {y1}"));
}

/// The lineage in words, for those who do not see it.
fn described(picture: &Picture<'_>) -> String {
    const DESCRIBED: usize = 200;
    let mut text = format!("{}.", picture.verdict());
    for (entry, parents) in picture.entries.iter().zip(picture.parents).take(DESCRIBED) {
        let after = match parents.as_slice() {
            [] => String::new(),
            some => {
                let names = some.iter().map(ToString::to_string).collect::<Vec<_>>();
                format!(" after {}", names.join(", "))
            }
        };
        text.push_str(&format!(" Entry {}{after}: {}.", entry.index, picture.lines(entry, 48).join(", ")));
    }
    if picture.entries.len() > DESCRIBED {
        text.push_str(&format!(" And {} more entries.", picture.entries.len() - DESCRIBED));
    }
    text
}

fn cut(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    text.chars().take(longest - 1).chain(['…']).collect()
}

/// Character data of XML 1.0, also inside quotes. What no XML may hold is replaced.
fn escaped(text: &str) -> String {
    let mut xml = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\'' => xml.push_str("&#39;"),
            '\n' => xml.push('\n'),
            '\u{fffe}' | '\u{ffff}' => xml.push('\u{fffd}'),
            other if other.is_control() => xml.push('\u{fffd}'),
            other => xml.push(other),
        }
    }
    xml
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(escaped("<b a=\"'&\u{0}\u{ffff}"), "&lt;b a=&quot;&#39;&amp;\u{fffd}\u{fffd}");
    }
}
