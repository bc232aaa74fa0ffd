//! `kest policy` beside a running OPA.

use std::fs;

use kest_lab::{Folder, Lab, Opa, command, is_whole, library, library_folder, run, wait_for};

use crate::{PATIENT, gate, put, together};

const TOKEN: &str = "opa-sync-secret";

#[test]
fn the_lock_is_written_from_what_the_server_holds() {
    let _together = together();
    let Some(lab) = Lab::from_env() else { return };
    let folder = Folder::new();
    let policies = folder.sub("policies");
    gate(&policies, 40);
    put(&policies, "gate/always", "package gate.always\n\nallow := true\n");
    put(&policies, "gate/helper", "package gate.helper\n\nvalue := 1\n");
    let opa = Opa::start_guarded(&lab, &policies, TOKEN);
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (ca, token) = (write("ca.pem", opa.certificate()), write("token", TOKEN));
    let (url, lock) = (opa.url(), folder.path().join("kest-policies.lock"));
    let output = lock.to_str().unwrap().to_owned();
    let sync = |token: &str, more: &[&str]| {
        let fixed =
            ["policy", "sync", "--opa", &url, "--ca", &ca, "--token-file", token, "--output", &output];
        run(&command(), &[&fixed, more].concat(), &[])
    };

    // Whoever is not known there gets no lock.
    let (code, text) = sync(&write("wrong", "nonsense"), &[]);
    assert_eq!(code, 2, "{text}");
    assert!(!text.contains("nonsense") && !lock.exists(), "{text}");

    let (code, text) = sync(&token, &[]);
    assert_eq!(code, 0, "{text}");
    let written = fs::read_to_string(&lock).unwrap();
    let names: Vec<&str> = written.lines().filter_map(|line| line.strip_prefix("name = ")).collect();
    assert_eq!(names, [r#""gate/always""#, r#""gate/score""#], "{written}");
    assert_eq!(sync(&token, &["--check"]).0, 0);

    gate(&policies, 60);
    let text = wait_for("the change to be seen", PATIENT, || match sync(&token, &["--check"]) {
        (1, text) => Some(text),
        _ => None,
    });
    assert!(text.contains("gate/score") && !text.contains("gate/always"), "{text}");
    assert_eq!(fs::read_to_string(&lock).unwrap(), written, "`--check` writes nothing");
    assert_eq!(sync(&token, &[]).0, 0);
    assert_ne!(fs::read_to_string(&lock).unwrap(), written);
}

#[test]
fn the_tables_of_the_library_are_run_against_the_server() {
    let _together = together();
    let Some(lab) = Lab::from_env() else { return };
    is_whole(&library());
    let opa = Opa::start(&lab, &library_folder());
    let dir = library_folder();
    let (url, dir) = (opa.url(), dir.to_str().unwrap());
    let (code, text) = run(&command(), &["policy", "test", "--dir", dir, "--opa", &url], &[]);
    assert_eq!(code, 0, "{text}");
    opa.kill();
    let (code, text) = run(&command(), &["policy", "test", "--dir", dir, "--opa", &url], &[]);
    assert_ne!(code, 0, "{text}");
}
