//! The examples of `docs/cli.md` are what the binary writes, for those of `kest policy` in the folder `tests/project`, for those of
//! `kest audit` in `tests/store`. `UPDATE_DOCS=1 cargo test -p kest-cli --test docs`
//! writes them anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{IDENTITY_VARIABLES, vectors};

#[test]
fn the_examples_are_real() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    let page = fs::read_to_string(&path).unwrap();
    let mut written = String::new();
    let mut examples = 0;
    let mut folder = vectors();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        written.push_str(&format!("{line}\n"));
        if line.starts_with("## ") {
            let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
            folder = match line {
                _ if line.starts_with("## `kest policy") => tests.join("project"),
                _ if line.starts_with("## `kest audit") => tests.join("store"),
                _ => vectors(),
            };
        }
        if line != "```console" {
            continue;
        }
        let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        for command in body.iter().filter_map(|line| line.strip_prefix("$ ")) {
            written.push_str(&format!("$ {command}\n{}", output(command, &folder)));
            examples += 1;
        }
        written.push_str("```\n");
    }
    assert!(examples >= 5, "{examples}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, written).unwrap();
    } else {
        assert_eq!(page, written, "docs/cli.md is behind; run with UPDATE_DOCS=1");
    }
}

/// What a shell in a folder shows.
fn output(command: &str, folder: &Path) -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_kest")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{command} 2>&1")]).current_dir(folder).env("PATH", path);
    for variable in IDENTITY_VARIABLES {
        shell.env_remove(variable);
    }
    let output =
        shell.env_remove("KEST_CONFIG").env_remove("KEST_OPA_URL").stdin(Stdio::null()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}
