//! One page that draws a lineage and checks it in the browser. Nothing in it comes from anywhere else, and nothing goes
//! anywhere: its content security policy lets two blocks run, which it names by their hashes, and forbids the rest.

use base64_simd::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Picture;
use super::layout::{self, lay_out};
use crate::input::Unusable;
use crate::text;

const PAGE: &str = include_str!("../html/page.html");
const STYLE: &str = include_str!("../html/style.css");
const VERIFY: &str = include_str!("../html/verify.js");
const SCHEMA: &str = include_str!("../html/schema.js");
const DRAW: &str = include_str!("../html/draw.js");
const APP: &str = include_str!("../html/app.js");

/// The page of a passport. The page gets the entries as they came and works out the rest.
///
/// # Errors
/// When the data cannot be written as JSON.
pub(crate) fn page(
    picture: &Picture<'_>,
    entries: &[String],
    anchors: Option<&Value>,
    bundles: bool,
) -> Result<String, Unusable> {
    let layout = lay_out(picture.parents);
    let trunks: Vec<Value> = {
        let mut trunks: Vec<_> = layout.trunks.iter().collect();
        trunks.sort_by_key(|(from, _)| **from);
        trunks.into_iter().map(|(from, trunk)| json!([from, trunk])).collect()
    };
    let said = picture.answer.map(|answer| {
        json!({"accepted": answer.accepted, "summary": answer.summary, "anchors": anchors.is_some(), "bundles": bundles})
    });
    let data = json!({
        "version": 1,
        "made": concat!("kest ", env!("CARGO_PKG_VERSION")),
        "name": picture.name,
        "entries": entries,
        "anchors": anchors,
        "said": said,
        "layout": {
            "card": [layout::WIDTH, layout::HEIGHT],
            "pitch": layout::PITCH,
            "size": [layout.width, layout.height],
            "places": layout.places,
            "layers": layout.layers,
            "trunks": trunks,
        },
    });
    let data =
        serde_json::to_string(&data).map_err(|error| Unusable(format!("cannot write JSON: {error}")))?;
    let script = format!("\"use strict\";\n{VERIFY}{SCHEMA}{DRAW}{APP}");
    // The blocks of foreign text come last: what stands in them is not looked through for names.
    let page = PAGE
        .replace("{{style-hash}}", &hash(STYLE))
        .replace("{{script-hash}}", &hash(&script))
        .replace("{{title}}", &escaped(&text::message(picture.name)));
    let mut out = String::with_capacity(page.len() + script.len() + data.len() + STYLE.len());
    let mut rest = page.as_str();
    for (name, block) in [
        ("{{style}}", STYLE),
        ("{{data}}", inert(&text::json(&data)).as_str()),
        ("{{script}}", script.as_str()),
    ] {
        let (before, after) = rest
            .split_once(name)
            .ok_or_else(|| Unusable(format!("the template of the page has no place for `{name}`")))?;
        out.push_str(before);
        out.push_str(block);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// A source expression of CSP 3 §2.3.1.
fn hash(block: &str) -> String {
    format!("sha256-{}", STANDARD.encode_to_string(Sha256::digest(block.as_bytes())))
}

/// JSON that an HTML parser takes for text and nothing else: such characters stand in strings alone, and may be escaped.
fn inert(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            other => text.push(other),
        }
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('{', "&#123;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_cannot_leave_its_block() {
        let evil = json!(["</script><!--<script>", "&amp;\u{2028}"]).to_string();
        let inert = inert(&evil);
        assert!(!inert.contains(['<', '>', '&', '\u{2028}']), "{inert}");
        assert_eq!(
            serde_json::from_str::<Value>(&inert).unwrap(),
            serde_json::from_str::<Value>(&evil).unwrap()
        );
    }

    #[test]
    fn nothing_in_the_page_ends_its_own_block() {
        for block in [VERIFY, SCHEMA, DRAW, APP, STYLE] {
            let lower = block.to_ascii_lowercase();
            assert!(
                !lower.contains("</") && !lower.contains("<!--"),
                "an HTML parser would take this for markup"
            );
        }
    }

    #[test]
    fn nothing_in_the_page_is_from_elsewhere() {
        for block in [PAGE, VERIFY, SCHEMA, DRAW, APP, STYLE] {
            for call in [
                "fetch(",
                "XMLHttpRequest",
                "import ",
                "innerHTML",
                "outerHTML",
                "eval(",
                "WebSocket",
                "src=",
                "href=",
            ] {
                assert!(!block.contains(call), "`{call}`");
            }
            let addresses = block.replace("http://www.w3.org/2000/svg", "");
            assert!(!addresses.contains("http://") && !addresses.contains("https://"));
        }
    }
}
