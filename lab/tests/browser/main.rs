//! The page of `kest graph --format html` in headless Chromium, from disk and without a network. Spec §14.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kest_lab::{Folder, Lab, command, repository, run};
use serde_json::{Value, json};

/// Chromium, and a folder with passports.
struct Browser {
    chromium: PathBuf,
    folder: Folder,
}

const READY: &str = "document.documentElement.dataset.ready === 'yes' && document.documentElement.dataset.verdict !== 'checking'";
const VERDICT: &str = "document.documentElement.dataset.verdict";
const MARKS: &str =
    "[...document.querySelectorAll('#stage [data-index]')].map((card) => card.dataset.verdict)";
const CHOSEN: &str = "document.activeElement.dataset.index";

impl Browser {
    fn start(lab: &Lab) -> Self {
        let chromium = lab.part("browser/bin/chromium");
        assert!(chromium.exists(), "`{}` is missing; run `lab/install` again", chromium.display());
        let folder = Folder::new();
        let made = Command::new("node")
            .arg(repository().join("lab/browser/passports.mjs"))
            .arg(folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self { chromium, folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Makes the page of a passport; gives the exit code of the command.
    fn page(&self, passport: &str, anchors: Option<&str>, page: &str) -> i32 {
        let (passport, page) = (self.path(passport), self.path(page));
        let mut arguments = vec!["graph", &passport, "--output", &page];
        let anchors = anchors.map(|anchors| self.path(anchors));
        if let Some(anchors) = &anchors {
            arguments.extend(["--anchors", anchors]);
        }
        let (code, text) = run(&command(), &arguments, &[]);
        assert!(Path::new(&page).exists(), "{text}");
        code
    }

    fn open(&self, page: &str) -> Value {
        self.open_as(page, [1280, 800], "light")
    }

    fn open_as(&self, page: &str, size: [u32; 2], scheme: &str) -> Value {
        json!({"open": format!("file://{}", self.path(page)), "size": size, "scheme": scheme})
    }

    /// Goes through steps; nothing may be asked of a network, and nothing may go wrong in the page.
    fn go(&self, steps: &[Value]) -> Value {
        let mut driver = Command::new("node")
            .arg(repository().join("lab/browser/drive.mjs"))
            .arg(&self.chromium)
            .arg(self.folder.sub("profile"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        driver.stdin.take().unwrap().write_all(json!(steps).to_string().as_bytes()).unwrap();
        let output = driver.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["complaints"], json!([]));
        for asked in report["asked"].as_array().unwrap() {
            assert!(asked.as_str().unwrap().starts_with("file://"), "{asked}");
        }
        report["results"].clone()
    }

    /// The verdict of a page, and those on its entries.
    fn verdicts(&self, page: &str) -> (String, Vec<String>) {
        let steps = [self.open(page), json!({"wait": READY}), eval("all", VERDICT), eval("each", MARKS)];
        let results = self.go(&steps);
        let each = results["each"].as_array().unwrap().iter().map(|mark| mark.as_str().unwrap().to_owned());
        (results["all"].as_str().unwrap().to_owned(), each.collect())
    }
}

fn eval(name: &str, expression: &str) -> Value {
    json!({"eval": expression, "as": name})
}

#[test]
fn good_passports_are_checked_and_others_are_not() {
    type Case<'c> = (&'c str, Option<&'c str>, i32, &'c str, &'c [&'c str]);

    let Some(lab) = Lab::from_env() else { return };
    let browser = Browser::start(&lab);
    let (checked, open, wrong) = ("checked", "unchecked", "wrong");
    let cases: [Case<'_>; 9] = [
        ("good.json", Some("anchors.json"), 0, checked, &[checked; 6]),
        ("es256.json", Some("anchors.json"), 0, checked, &[checked]),
        ("good.json", None, 0, open, &[open; 6]),
        // The key of `web` is another one; entries of `orders` are as good as before.
        (
            "good.json",
            Some("wrong.anchors.json"),
            1,
            wrong,
            &[wrong, checked, checked, wrong, checked, checked],
        ),
        ("good.json", Some("partial.anchors.json"), 1, open, &[checked, open, open, checked, open, open]),
        // Entry 2 is changed, so entry 3 names a parent that is not there.
        (
            "tampered.json",
            Some("anchors.json"),
            1,
            wrong,
            &[checked, checked, wrong, wrong, checked, checked],
        ),
        (
            "reordered.json",
            Some("anchors.json"),
            1,
            wrong,
            &[checked, wrong, checked, checked, checked, checked],
        ),
        (
            "broken.json",
            Some("anchors.json"),
            1,
            wrong,
            &[checked, checked, checked, checked, checked, checked, wrong],
        ),
        ("evil.json", Some("anchors.json"), 1, wrong, &[checked, wrong]),
    ];
    for (number, (passport, anchors, code, all, each)) in cases.into_iter().enumerate() {
        let page = format!("{number}.html");
        assert_eq!(browser.page(passport, anchors, &page), code, "{passport} {anchors:?}");
        let (found, marks) = browser.verdicts(&page);
        assert_eq!(
            (found.as_str(), marks.iter().map(String::as_str).collect::<Vec<_>>()),
            (all, each.to_vec()),
            "{passport} {anchors:?}"
        );
    }
}

#[test]
fn the_page_does_not_believe_the_program_that_made_it() {
    let Some(lab) = Lab::from_env() else { return };
    let browser = Browser::start(&lab);
    browser.page("good.json", Some("anchors.json"), "good.html");
    let page = fs::read_to_string(browser.path("good.html")).unwrap();
    let entry: Vec<String> = serde_json::from_slice(&fs::read(browser.path("good.json")).unwrap()).unwrap();
    let other: Vec<String> =
        serde_json::from_slice(&fs::read(browser.path("tampered.json")).unwrap()).unwrap();
    assert!(page.contains(&entry[2]) && page.contains(r#""accepted":true"#));
    fs::write(browser.path("forged.html"), page.replace(&entry[2], &other[2])).unwrap();
    let (all, marks) = browser.verdicts("forged.html");
    assert_eq!((all.as_str(), marks[2].as_str()), ("wrong", "wrong"));
    // A script of somebody else's does not run.
    let scripted = page.replace(
        "<script>\"use strict\";",
        "<script>\"use strict\";document.documentElement.dataset.ready = 'yes';",
    );
    assert_ne!(scripted, page);
    fs::write(browser.path("scripted.html"), scripted).unwrap();
    let report = Command::new("node")
        .arg(repository().join("lab/browser/drive.mjs"))
        .arg(&browser.chromium)
        .arg(browser.folder.sub("profile"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .and_then(|mut driver| {
            let steps = json!([
                browser.open("scripted.html"),
                eval("ready", "document.documentElement.dataset.ready ?? 'no'")
            ]);
            driver.stdin.take().unwrap().write_all(steps.to_string().as_bytes())?;
            driver.wait_with_output()
        });
    let report: Value = serde_json::from_slice(&report.unwrap().stdout).unwrap();
    assert_eq!(report["results"]["ready"], "no");
    assert!(report["complaints"].to_string().contains("Content Security Policy"), "{report}");
}

#[test]
fn a_reader_brings_anchors_and_an_expected_tip() {
    let Some(lab) = Lab::from_env() else { return };
    let browser = Browser::start(&lab);
    browser.page("good.json", None, "plain.html");
    let status = "document.getElementById('anchors-status').textContent";
    let text = "document.getElementById('verdict-text').textContent";
    let set = |id: &str, value: &str| json!({"eval": format!("document.getElementById('{id}').value = {}", json!(value)), "as": "_"});
    let click = |id: &str| json!({"eval": format!("document.getElementById('{id}').click()"), "as": "_"});
    let anchors = fs::read_to_string(browser.path("anchors.json")).unwrap();
    let private = anchors.replacen("\"crv\"", "\"d\":\"AA\",\"crv\"", 1);
    let wait_status = |what: &str| json!({"wait": format!("{status}.includes({}) && {READY}", json!(what))});
    let results = browser.go(&[
        browser.open("plain.html"),
        json!({"wait": READY}),
        eval("before", VERDICT),
        json!({"file": ["#anchors-file", browser.path("anchors.json")]}),
        wait_status("your file anchors.json"),
        eval("loaded", VERDICT),
        json!({"file": ["#anchors-file", browser.path("wrong.anchors.json")]}),
        wait_status("your file wrong.anchors.json"),
        eval("wrong", VERDICT),
        // What cannot be used changes nothing.
        set("anchors-text", &private),
        click("pasted"),
        wait_status("Nothing has changed"),
        eval("refused", &format!("{VERDICT} + ' ' + {status}")),
        set("anchors-text", &anchors),
        click("pasted"),
        wait_status("the anchors that you pasted"),
        eval("pasted", VERDICT),
        set("tip", &"0".repeat(64)),
        click("pasted"),
        json!({"wait": format!("{READY} && {VERDICT} === 'wrong'")}),
        eval("cut", text),
        json!({"eval": "document.getElementById('tip').value = entries.at(-1).hash", "as": "_"}),
        click("pasted"),
        json!({"wait": format!("{READY} && {VERDICT} === 'checked'")}),
        eval("complete", "document.getElementById('notes').textContent"),
    ]);
    assert_eq!(results["before"], "unchecked");
    assert_eq!(results["loaded"], "checked");
    assert_eq!(results["wrong"], "wrong");
    let refused = results["refused"].as_str().unwrap();
    assert!(refused.starts_with("wrong Nothing has changed") && refused.contains("secret"), "{refused}");
    assert_eq!(results["pasted"], "checked");
    assert_eq!(results["cut"], "The passport does not end as expected.");
    assert!(results["complete"].as_str().unwrap().contains("Completeness pass"), "{results}");
}

#[test]
fn the_keyboard_goes_along_edges_and_searches() {
    let Some(lab) = Lab::from_env() else { return };
    let browser = Browser::start(&lab);
    browser.page("denied.json", Some("anchors.json"), "denied.html");
    let key = |name: &str| json!({"key": name});
    let results = browser.go(&[
        browser.open("denied.html"),
        json!({"wait": READY}),
        eval("receipt", "state.chosen"),
        eval("refused", "document.documentElement.dataset.verdict"),
        json!({"eval": "choose(0)", "as": "_"}),
        key("ArrowDown"),
        eval("down", CHOSEN),
        key("ArrowRight"),
        eval("right", CHOSEN),
        key("ArrowDown"),
        eval("joined", CHOSEN),
        key("ArrowUp"),
        key("ArrowUp"),
        eval("top", CHOSEN),
        key("/"),
        eval("search", "document.activeElement.id"),
        json!({"type": "refund"}),
        eval("found", "document.getElementById('found').textContent"),
        key("Enter"),
        eval("panel", "document.getElementById('detail').textContent"),
        eval("label", "document.querySelector('[aria-current]').getAttribute('aria-label')"),
        key("Escape"),
        eval("after", CHOSEN),
        json!({"eval": "document.getElementById('filter').value = 'denied'; document.getElementById('filter').dispatchEvent(new Event('change'))", "as": "_"}),
        eval("filtered", "[...document.querySelectorAll('#stage [data-index]:not(.faded)')].map((card) => card.dataset.index)"),
        eval("verdict", "document.getElementById('verdict-text').textContent"),
        key("Escape"),
        eval("closed", "document.getElementById('panel').hidden"),
    ]);
    // A receipt is no step of a lineage, whoever signed it.
    assert_eq!((&results["receipt"], &results["refused"]), (&json!(6), &json!("wrong")));
    assert_eq!((&results["down"], &results["top"]), (&json!("1"), &json!("0")));
    assert!(results["right"] == "2" && results["joined"] == "3", "{results}");
    assert_eq!((&results["search"], &results["found"]), (&json!("search"), &json!("1 of 7")));
    let panel = results["panel"].as_str().unwrap();
    assert!(panel.contains("refund") && panel.contains("⊘ denied") && panel.contains("ES256"), "{panel}");
    let label = results["label"].as_str().unwrap();
    assert!(
        label.contains("Entry 6: refund") && label.contains("⊘ denied") && label.contains("trust 10"),
        "{label}"
    );
    assert_eq!((&results["after"], &results["filtered"]), (&json!("6"), &json!(["6"])));
    assert!(results["verdict"].as_str().unwrap().contains("⊘ 1 denied"), "{results}");
    assert_eq!(results["closed"], true);
}

#[test]
fn what_entries_say_is_text() {
    let Some(lab) = Lab::from_env() else { return };
    let browser = Browser::start(&lab);
    browser.page("evil.json", Some("anchors.json"), "evil.html");
    let results = browser.go(&[
        browser.open("evil.html"),
        json!({"wait": READY}),
        json!({"eval": "choose(0)", "as": "_"}),
        eval("title", "document.title"),
        eval("images", "document.images.length + document.scripts.length"),
        eval("shown", "document.body.innerText"),
    ]);
    assert_eq!(results["title"], "evil.json: lineage");
    assert_eq!(results["images"], 2, "no image, and the two scripts of the page");
    let shown = results["shown"].as_str().unwrap();
    assert!(shown.contains("</script><script>") && shown.contains("\\u{202e}"), "{shown}");
    assert!(!shown.contains(['\u{202e}', '\u{7}']));
}

#[test]
fn a_thousand_entries_stay_usable() {
    let Some(lab) = Lab::from_env() else { return };
    let browser = Browser::start(&lab);
    assert_eq!(browser.page("large.json", Some("anchors.json"), "large.html"), 0);
    let timed = |name: &str, act: &str| {
        eval(
            name,
            &format!(
                "(async () => {{ const begun = performance.now(); {act}; await new Promise(requestAnimationFrame); return performance.now() - begun; }})()"
            ),
        )
    };
    let results = browser.go(&[
        browser.open("large.html"),
        json!({"wait": READY}),
        eval("ready", "performance.now()"),
        eval("marks", &format!("{MARKS}.filter((mark) => mark === 'checked').length")),
        timed("chosen", "choose(900)"),
        timed("searched", "document.getElementById('search').value = 'step_77'; narrow()"),
        eval("found", "document.getElementById('found').textContent"),
    ]);
    println!("1,000 entries, in ms: {results}");
    assert_eq!((&results["marks"], &results["found"]), (&json!(1000), &json!("11 of 1000")));
    for (what, limit) in [("ready", 30_000.0), ("chosen", 2_000.0), ("searched", 2_000.0)] {
        assert!(results[what].as_f64().unwrap() < limit, "{what}: {results}");
    }
}

/// The page and the verifier agree on every test vector, as far as the page goes.
#[test]
fn every_vector_gets_the_verdict_that_the_verifier_gives_it() {
    let Some(lab) = Lab::from_env() else { return };
    let browser = Browser::start(&lab);
    browser.page("es256.json", None, "one.html");
    let mut steps = vec![browser.open("one.html"), json!({"wait": READY})];
    let mut expected = Vec::new();
    for folder in ["verify", "verify_signatures"] {
        for file in fs::read_dir(repository().join("tests/vectors").join(folder)).unwrap() {
            let vector: Value = serde_json::from_slice(&fs::read(file.unwrap().path()).unwrap()).unwrap();
            let name = vector["name"].as_str().unwrap().to_owned();
            steps.push(eval(&name, &format!("({JUDGE})({vector})")));
            let step = vector["expect"]["step"].as_str().unwrap_or("accepted");
            let failure = vector["expect"]["failure"].as_str().unwrap_or_default();
            let linear = vector["options"]["linear"] == true;
            let verdict = match (step, failure) {
                // The page takes no mock entries.
                ("accepted", _) if vector["options"]["accept_mock"] == true => "wrong",
                ("accepted", _) => "checked",
                (_, "UnknownPrincipal") => "unchecked",
                ("semantics", "Denial") => "wrong",
                // What it says that it does not check, and limits.
                ("semantics" | "authority" | "time", _) | (_, "TooLarge" | "TooManyTaints") => "checked",
                ("completeness", _) if linear => "checked",
                _ => "wrong",
            };
            expected.push((name, verdict, vector["expect"].clone()));
        }
    }
    assert!(expected.len() > 200, "{}", expected.len());
    let results = browser.go(&steps);
    let differ: Vec<String> = expected
        .iter()
        .filter(|(name, verdict, _)| results[name] != *verdict)
        .map(|(name, verdict, expect)| format!("{name}: {} and not {verdict} ({expect})", results[name]))
        .collect();
    assert!(differ.is_empty(), "{differ:#?}");
}

/// What the page makes of a vector.
const JUDGE: &str = "async ({ passport, anchors, options }) => {
  let trusted;
  try { trusted = await readAnchors(JSON.stringify(anchors)); } catch { return 'wrong'; }
  const read = await Promise.all(passport.map((jws, index) => readEntry(index, jws)));
  const { completeness } = await checkAll(read, trusted, options.expected_tip ?? '', async () => {});
  const marks = read.map((entry) => entry.verdict);
  if (marks.includes('wrong') || completeness[0] === 'fail') return 'wrong';
  return marks.includes('unchecked') ? 'unchecked' : 'checked';
}";

/// To be looked at: `KEST_LAB_KEEP=1 lab/run --test browser screenshots`.
#[test]
fn screenshots_light_and_dark_large_and_small() {
    let Some(lab) = Lab::from_env() else { return };
    let browser = Browser::start(&lab);
    let mut steps = Vec::new();
    let mut shots = Vec::new();
    for passport in ["good", "tampered", "denied", "large"] {
        browser.page(&format!("{passport}.json"), Some("anchors.json"), &format!("{passport}.html"));
        for (size, scheme) in
            [([1280, 800], "light"), ([1280, 800], "dark"), ([420, 900], "light"), ([420, 900], "dark")]
        {
            let shot = browser.path(&format!("{passport}-{}-{scheme}.png", size[0]));
            steps
                .extend([browser.open_as(&format!("{passport}.html"), size, scheme), json!({"wait": READY})]);
            // Nothing hangs over the side.
            steps.push(eval(&shot, "document.documentElement.scrollWidth <= innerWidth"));
            steps.push(json!({"shot": shot}));
            shots.push(shot);
        }
    }
    let results = browser.go(&steps);
    for shot in shots {
        assert_eq!(results[&shot], true, "{shot}");
        assert!(fs::metadata(&shot).unwrap().len() > 10_000, "{shot}");
    }
}
