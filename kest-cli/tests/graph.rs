//! `kest graph`: each form is well-formed whatever entries say, and marks what is not right.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::fs;
use std::path::Path;

use base64_simd::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::{Lineage, folder, piped, run, run_in};

const EVIL: &str =
    "a\"]-->x[b<b>&lt;</script><!--<script>alert(1)</script>\\N\\\"#quot;`%%{init}%%\n;\u{1b}[2J\u{202e}'";

/// A fork and a join with taints, a denial, and what is no entry.
fn mixed() -> Lineage {
    let mut lineage = Lineage::new();
    lineage.add(&[], |payload| {
        payload["added_taints"] = json!(["pii", "raw"]);
        payload["taints"] = json!(["pii", "raw"]);
    });
    lineage.add(&[0], |payload| payload["taints"] = json!(["pii", "raw"]));
    lineage.add(&[0], |payload| {
        payload["classification"] = json!("sanitizer");
        payload["removed_taints"] = json!(["raw"]);
        payload["taints"] = json!(["pii"]);
    });
    lineage.add(&[2, 1], |payload| payload["taints"] = json!(["pii", "raw"]));
    lineage
}

fn evil() -> Lineage {
    let mut lineage = Lineage::new();
    lineage.add(&[], |payload| {
        for member in ["operation", "classification"] {
            payload[member] = json!(EVIL);
        }
        payload["labels"]["principal"] = json!(EVIL);
        payload["added_taints"] = json!([EVIL]);
        payload["taints"] = json!([EVIL]);
    });
    lineage.add(&[0], |payload| payload["classification"] = json!("denial"));
    lineage
}

fn graph(folder: &Path, format: &str, more: &[&str]) -> support::Run {
    run_in(folder, &[&["graph", "passport.json", "--format", format], more].concat())
}

const ANCHORED: [&str; 2] = ["--anchors", "anchors.json"];

#[test]
fn a_mermaid_chart_has_all_entries_and_edges() {
    let run = graph(&mixed().write(), "mermaid", &ANCHORED);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(mermaid(&run.stdout), (4, 4), "{}", run.stdout);
    assert!(run.stdout.contains("● verified · "), "{}", run.stdout);
    assert!(run.stdout.contains(r#"  n0 -. "trust 40 · pii raw" .-> n1"#), "{}", run.stdout);
    assert!(run.stdout.contains("  class n0,n1,n2,n3 verified\n"), "{}", run.stdout);
}

#[test]
fn a_dot_graph_has_all_entries_and_edges() {
    let run = graph(&mixed().write(), "dot", &ANCHORED);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(dot(&run.stdout), (4, 4), "{}", run.stdout);
    assert!(run.stdout.contains("trust 40 · sanitizer"), "{}", run.stdout);
}

#[test]
fn a_drawing_has_all_entries_and_edges_and_words_for_them() {
    let run = graph(&mixed().write(), "svg", &ANCHORED);
    assert_eq!(run.code, 0, "{}", run.stderr);
    xml(&run.stdout);
    assert_eq!(run.stdout.matches("<svg class=\"entry verified\"").count(), 4);
    assert_eq!(run.stdout.matches("class=\"edge middle tainted\"").count(), 4);
    assert!(run.stdout.contains("<title id=\"title\">Lineage of passport.json</title>"));
    assert!(run.stdout.contains("Entry 3 after 2, 1: ● verified"), "{}", run.stdout);
    assert!(run.stdout.contains("@media (prefers-color-scheme: dark)"));
    for active in ["<script", "<foreignObject", "<a ", "<image", "<use", " on", "href", "@import", "url(http"]
    {
        assert!(!run.stdout.split("</style>").last().unwrap().contains(active), "`{active}`");
    }
}

#[test]
fn whatever_an_entry_says_is_text() {
    for lineage in [evil().write_for(EVIL), evil().write()] {
        for more in [&ANCHORED[..], &[]] {
            assert_eq!(mermaid(&graph(&lineage, "mermaid", more).stdout), (2, 1));
            assert_eq!(dot(&graph(&lineage, "dot", more).stdout), (2, 1));
            let svg = graph(&lineage, "svg", more).stdout;
            xml(&svg);
            assert!(!svg.contains("<script"), "{svg}");
            page(&graph(&lineage, "html", more).stdout);
            for form in ["mermaid", "dot", "svg", "html"] {
                let run = graph(&lineage, form, more);
                let raw = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202e}' | '\u{200b}');
                // The page has the entries as they came, in base64url, and shows such characters by their numbers.
                assert!(!run.stdout.contains(raw), "{form}");
            }
        }
    }
}

#[test]
fn what_is_denied_broken_or_wrong_is_marked_in_words() {
    let denied = evil().write();
    for (form, sign) in
        [("mermaid", "⊘ denied"), ("dot", "peripheries=2"), ("svg", "entry unverified denied")]
    {
        let run = graph(&denied, form, &[]);
        assert!(run.stdout.contains(sign), "{}", run.stdout);
    }
    let tampered = ["graph", "neg_payload_tampered.passport.json", "--format"];
    let anchors = ["--anchors", "neg_payload_tampered.anchors.json"];
    for form in ["mermaid", "dot", "svg", "html"] {
        let run = run(&[&tampered[..], &[form], &anchors[..]].concat());
        assert_eq!(run.code, 1, "{form}: {}", run.stderr);
        if form != "html" {
            assert!(run.stdout.contains("✗ failed · a07f10700f37"), "{}", run.stdout);
            assert!(run.stdout.contains("the signature is wrong"), "{}", run.stdout);
            assert!(run.stdout.contains("○ not verified · 0a5e63345d73"), "{}", run.stdout);
        }
    }
    for form in ["mermaid", "dot", "svg", "html"] {
        let run = piped(&["graph", "-", "--format", form], br#"["x"]"#);
        assert_eq!(run.code, 1, "{form}");
        assert!(form == "html" || run.stdout.contains("✗ broken"), "{}", run.stdout);
    }
}

#[test]
fn an_empty_passport_is_drawn_and_said_to_be_empty() {
    for form in ["mermaid", "dot", "svg", "html"] {
        let run = piped(&["graph", "-", "--format", form], b"[]");
        assert_eq!(run.code, 0, "{form}");
        match form {
            "mermaid" => assert_eq!(mermaid(&run.stdout), (0, 0)),
            "dot" => assert_eq!(dot(&run.stdout), (0, 0)),
            "svg" => xml(&run.stdout),
            _ => {
                page(&run.stdout);
            }
        }
        assert!(form == "html" || run.stdout.contains("the passport is empty"), "{}", run.stdout);
    }
}

#[test]
fn the_page_has_the_entries_as_they_came_and_the_anchors_that_were_given() {
    let lineage = mixed();
    let folder = lineage.write();
    let anchored = page(&graph(&folder, "html", &ANCHORED).stdout);
    let passport: Value = serde_json::from_str(&lineage.passport()).unwrap();
    assert_eq!(anchored["entries"], passport);
    assert_eq!(anchored["anchors"][support::PRINCIPAL]["keys"][0]["x"], lineage.jwk().to_json()["x"]);
    assert_eq!(anchored["said"]["accepted"], true);
    assert_eq!(anchored["name"], "passport.json");
    assert_eq!(anchored["layout"]["places"].as_array().unwrap().len(), 4);
    let plain = page(&graph(&folder, "html", &[]).stdout);
    assert!(plain["anchors"].is_null() && plain["said"].is_null());
    // Where the file lies is nobody's business.
    let path = folder.join("passport.json");
    let text = run(&["graph", path.to_str().unwrap(), "--format", "html"]).stdout;
    assert!(!text.contains(folder.to_str().unwrap()));
}

#[test]
fn the_format_is_that_of_the_file_and_no_file_is_replaced_unasked() {
    let folder = mixed().write();
    let write = |name: &str, more: &[&str]| {
        run_in(&folder, &[&["graph", "passport.json", "--output", name], more].concat())
    };
    for (name, begins) in
        [("a.mmd", "flowchart TD"), ("a.gv", "digraph"), ("a.SVG", "<svg"), ("a.html", "<!doctype html>")]
    {
        let run = write(name, &[]);
        assert_eq!((run.code, run.stdout.as_str()), (0, ""), "{}", run.stderr);
        assert!(fs::read_to_string(folder.join(name)).unwrap().starts_with(begins), "{name}");
    }
    write("a.html", &[]).unusable("exists already; --force replaces it");
    assert_eq!(write("a.html", &["--force", "--format", "dot"]).code, 0);
    assert!(fs::read_to_string(folder.join("a.html")).unwrap().starts_with("digraph"));
    write("a.png", &[]).unusable("no format is named");
    assert!(!folder.join("a.png").exists());
    run_in(&folder, &["graph", "passport.json"]).unusable("give --format mermaid, dot, svg or html");
}

#[test]
fn a_drawing_nobody_could_look_at_is_refused() {
    let many = json!(vec!["x"; 10_001]).to_string();
    for form in ["svg", "html"] {
        piped(&["graph", "-", "--format", form], many.as_bytes())
            .unusable("no more than 10000 can be drawn so");
    }
    assert_eq!(piped(&["graph", "-", "--format", "dot"], many.as_bytes()).code, 1);
}

#[test]
fn unusable_anchors_are_no_anchors() {
    let folder = mixed().write();
    fs::write(folder.join("anchors.json"), "{}x").unwrap();
    graph(&folder, "html", &ANCHORED).unusable("anchors.json");
}

#[test]
fn completions_are_for_the_shell_and_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = run(&["completions", shell]);
        assert_eq!(run.code, 0);
        for word in ["graph", "completions", "anchors"] {
            assert!(run.stdout.contains(word), "{shell}: {word}");
        }
        // These complete values too.
        assert!(!["bash", "zsh", "fish"].contains(&shell) || run.stdout.contains("mermaid"), "{shell}");
    }
    run(&["completions", "tcsh"]).unusable("invalid value 'tcsh'");
    let script = folder().join("kest.bash");
    fs::write(&script, run(&["completions", "bash"]).stdout).unwrap();
    let ask =
        "source \"$1\"; COMP_WORDS=(kest gr); COMP_CWORD=1; _kest kest gr kest; echo \"${COMPREPLY[@]}\"";
    let answer = std::process::Command::new("bash").args(["-c", ask, "bash"]).arg(&script).output().unwrap();
    assert_eq!(String::from_utf8(answer.stdout).unwrap().trim(), "graph", "{:?}", answer.stderr);
}

/// Reads a flowchart of the few forms of line that `kest graph` writes; gives its nodes and edges.
fn mermaid(chart: &str) -> (usize, usize) {
    let mut lines = chart.lines();
    assert_eq!(lines.next(), Some("flowchart TD"));
    let (mut nodes, mut edges) = (0, 0);
    let number = |name: &str| name.strip_prefix('n').unwrap().parse::<usize>().unwrap();
    for line in lines.map(|line| line.strip_prefix("  ").unwrap()) {
        if let Some(rest) = line.strip_prefix("accTitle: ").or(line.strip_prefix("accDescr: ")) {
            assert!(!rest.contains(['"', ';', '<', '{', '%', '#']), "{line}");
        } else if let Some(rest) = line.strip_prefix("classDef ") {
            assert!(!rest.contains([';', '"']), "{line}");
        } else if let Some(rest) = line.strip_prefix("class ") {
            let (names, _) = rest.split_once(' ').unwrap();
            assert!(names.split(',').all(|name| number(name) < nodes), "{line}");
        } else if let Some((name, label)) = line.split_once("[\"") {
            assert_eq!(name, if name == "nothing" { name.to_owned() } else { format!("n{nodes}") });
            nodes += usize::from(name != "nothing");
            plain(&label.strip_suffix("\"]").unwrap().replace("<br/>", ""));
        } else {
            let (from, rest) = line.split_once(" -").unwrap();
            let (open, rest) = rest.split_once(" \"").unwrap();
            let (label, rest) = rest.split_once("\" ").unwrap();
            let (close, to) = rest.split_once(' ').unwrap();
            assert!(matches!((open, close), (".", ".->") | ("-", "-->")), "{line}");
            assert!(number(from) < number(to) && number(to) < nodes, "{line}");
            plain(label);
            edges += 1;
        }
    }
    (nodes, edges)
}

/// Nothing that Mermaid, Markdown or HTML acts upon, but numbers of characters.
fn plain(label: &str) {
    let mut rest = label;
    while let Some((before, after)) = rest.split_once('#') {
        assert!(!before.contains(['"', '<', '>', '`', '*', '_', '[', '{', '&', ';', ':', '%']), "{label}");
        let (digits, tail) = after.split_once(';').unwrap();
        assert!(digits.parse::<u32>().is_ok(), "{label}");
        rest = tail;
    }
    assert!(!rest.contains(['"', '<', '>', '`', '*', '_', '[', '{', '&', ';', ':', '%']), "{label}");
}

/// Reads a graph of the grammar of Graphviz, as far as `kest graph` uses it; gives its nodes and edges.
fn dot(graph: &str) -> (usize, usize) {
    let mut tokens = Vec::new();
    let mut chars = graph.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\n' => {}
            '"' => {
                let mut text = String::from("\"");
                loop {
                    match chars.next().expect("a string ends") {
                        '"' => break,
                        '\\' => {
                            let next = chars.next().unwrap();
                            assert!(matches!(next, '"' | '\\' | 'n'), "\\{next}");
                        }
                        other => text.push(other),
                    }
                }
                for (at, _) in text.match_indices('&') {
                    let entity =
                        ["&amp;", "&lt;", "&gt;"].iter().any(|entity| text[at..].starts_with(entity));
                    assert!(entity, "{text}");
                }
                tokens.push(text);
            }
            '-' => {
                assert_eq!(chars.next(), Some('>'));
                tokens.push("->".to_owned());
            }
            '{' | '}' | '[' | ']' | '=' | ',' | ';' => tokens.push(c.to_string()),
            c => {
                assert!(c.is_ascii_alphanumeric(), "{c:?}");
                let mut word = c.to_string();
                while let Some(next) = chars.next_if(char::is_ascii_alphanumeric) {
                    word.push(next);
                }
                tokens.push(word);
            }
        }
    }
    assert_eq!(tokens[..3], ["digraph", "lineage", "{"]);
    assert_eq!(tokens.last().unwrap(), "}");
    let (mut nodes, mut edges) = (0, 0);
    for statement in tokens[3..tokens.len() - 1].split(|token| token == ";").filter(|some| !some.is_empty()) {
        let attributes = statement.iter().position(|token| token == "[").unwrap();
        assert_eq!(statement.last().unwrap(), "]");
        match &statement[..attributes] {
            [name] if ["graph", "node", "edge"].contains(&name.as_str()) => {}
            [name] => {
                assert_eq!(*name, format!("n{nodes}"));
                nodes += 1;
            }
            [_, arrow, _] => {
                assert_eq!(arrow, "->");
                edges += 1;
            }
            other => panic!("{other:?}"),
        }
        for pair in statement[attributes + 1..statement.len() - 1].split(|token| token == ",") {
            assert!(pair.len() == 3 && pair[1] == "=", "{pair:?}");
        }
    }
    (nodes, edges)
}

/// Well-formed XML of elements, attributes in double quotes and text. XML 1.0 §2.1.
fn xml(text: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text;
    let mut roots = 0;
    while let Some((before, after)) = rest.split_once('<') {
        assert!(!open.is_empty() || before.trim().is_empty(), "text outside the root");
        let in_style = open.last() == Some(&"style");
        if !in_style {
            characters(before);
        }
        let (tag, after) = after.split_once('>').expect("a tag ends");
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
            continue;
        }
        let (tag, empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let (name, mut attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(name.chars().all(char::is_alphanumeric), "{name}");
        while let Some((attribute, value)) = attributes.split_once("=\"") {
            assert!(attribute.trim().chars().all(|c| c.is_alphanumeric() || c == '-'), "{attribute}");
            let (value, more) = value.split_once('"').unwrap();
            characters(value);
            attributes = more;
        }
        assert!(attributes.trim().is_empty(), "{tag}");
        roots += usize::from(open.is_empty());
        if !empty {
            open.push(name);
        }
    }
    assert!(open.is_empty() && rest.trim().is_empty() && roots == 1);
}

fn characters(text: &str) {
    for (at, _) in text.match_indices('&') {
        let known =
            ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"].iter().any(|entity| text[at..].starts_with(entity));
        assert!(known, "{text}");
    }
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
}

/// Checks that a page consists of its blocks and nothing else that runs; gives its data.
fn page(html: &str) -> Value {
    let block = |open: &str, close: &str| {
        assert_eq!(html.matches(open).count(), 1, "{open}");
        html.split_once(open).unwrap().1.split_once(close).unwrap().0
    };
    let hash =
        |text: &str| format!("'sha256-{}'", STANDARD.encode_to_string(Sha256::digest(text.as_bytes())));
    let (script, style) = (block("<script>", "</script>"), block("<style>", "</style>"));
    let policy = block("<meta http-equiv=\"Content-Security-Policy\" content=\"", "\">");
    let directives: Vec<&str> = policy.split("; ").collect();
    assert_eq!(directives[0], "default-src 'none'");
    assert_eq!(directives[1], format!("script-src {}", hash(script)));
    assert_eq!(directives[2], format!("style-src {}", hash(style)));
    assert_eq!(html.matches("<script").count(), 2);
    assert_eq!(html.matches("</script").count(), 2);
    assert!(!html.contains("<!--") && !html.contains(" src=") && !html.contains(" href="));
    let data = block("<script type=\"application/json\" id=\"data\">", "</script>");
    assert!(!data.contains(['<', '>', '&']));
    serde_json::from_str(data).unwrap()
}
