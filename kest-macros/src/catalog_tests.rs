#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A scratch workspace with a member `app`.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("kest-catalog-{}-{count}", std::process::id()));
        let scratch = Self(dir);
        scratch.write("Cargo.toml", "[workspace]\nmembers = [\"app\"]\n");
        scratch.write("app/Cargo.toml", "[package]\nname = \"app\"\n");
        scratch
    }

    fn write(&self, path: &str, text: &str) -> &Self {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn load(&self) -> Result<Catalog, String> {
        self.load_with(None)
    }

    fn load_with(&self, config: Option<&str>) -> Result<Catalog, String> {
        Catalog::load(&Environment { manifest_dir: self.0.join("app"), config: config.map(str::to_owned) })
    }

    fn check(&self, name: &str) -> Result<(), String> {
        self.load()?.check(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("the scratch folder goes");
    }
}

const TRUSTED: &str = "package kest.allow_trusted\n";

#[test]
fn folder_of_the_workspace() {
    let s = Scratch::new();
    s.write("policies/kest/allow_trusted.rego", TRUSTED)
        .write("policies/kest/seal.cedar", "permit(principal, action, resource);");
    s.check("kest/allow_trusted").unwrap();
    s.check("kest/seal").unwrap();
    assert_eq!(s.load().unwrap().config_seen(), None);
    assert_eq!(
        s.check("kest/allow_trsted").unwrap_err(),
        "unknown policy `kest/allow_trsted`; did you mean `kest/allow_trusted`? (searched policies/)"
    );
    assert_eq!(
        s.check("allow_trusted").unwrap_err(),
        "unknown policy `allow_trusted`; did you mean `kest/allow_trusted`? (searched policies/)"
    );
    assert_eq!(
        s.check("other/thing").unwrap_err(),
        "unknown policy `other/thing`; add policies/other/thing.rego or other/thing.cedar (searched policies/)"
    );
}

#[test]
fn folder_of_the_manifest_is_nearer() {
    let s = Scratch::new();
    s.write("policies/a.cedar", "").write("app/policies/b.cedar", "");
    s.check("b").unwrap();
    assert!(s.check("a").unwrap_err().contains("(searched app/policies/)"));
}

#[test]
fn a_folder_of_the_crate_that_is_not_searched_is_named() {
    let s = Scratch::new();
    s.write("kest.toml", "").write("policies/a.cedar", "").write("app/policies/allow.cedar", "");
    let error = s.check("allow").unwrap_err();
    assert!(error.contains("(searched policies/)"), "{error}");
    assert!(
        error.contains("the folder app/policies/ of this crate is not searched: kest.toml holds"),
        "{error}"
    );
    assert!(error.contains("write a kest.toml beside its Cargo.toml\n\n    [policies]\n"), "{error}");

    let named = s.load_with(Some("kest.toml")).unwrap().check("allow").unwrap_err();
    assert!(named.contains("not searched: `KEST_CONFIG` names kest.toml"), "{named}");

    s.write("rules/a.cedar", "").write("app/kest.toml", "[policies]\ndir = \"../rules\"\n");
    let elsewhere = s.check("allow").unwrap_err();
    assert!(elsewhere.contains("not searched: app/kest.toml names another as `dir`"), "{elsewhere}");

    // As the message says.
    s.write("app/kest.toml", "[policies]\ndir = \"policies\"\n");
    s.check("allow").unwrap();
    assert!(s.check("a").unwrap_err().ends_with("(searched app/policies/)"));
}

#[test]
fn nearest_config_wins_and_is_tracked() {
    let s = Scratch::new();
    s.write("kest.toml", "[policies]\nknown = [\"far\"]\n")
        .write("app/kest.toml", "[policies]\nknown = [\"near\"]\n");
    s.check("near").unwrap();
    let catalog = s.load().unwrap();
    assert_eq!(catalog.config_seen().as_deref(), Some("app/kest.toml"));
    assert_eq!(catalog.reads(), [s.0.join("app/kest.toml")]);
    assert!(s.check("far").is_err());
    assert_eq!(
        s.check("nera").unwrap_err(),
        "unknown policy `nera`; did you mean `near`? (searched app/policies/, which is missing, `known` in app/kest.toml)"
    );
}

#[test]
fn nothing_above_the_workspace_counts() {
    let s = Scratch::new();
    s.write("app/Cargo.toml", "[package]\nname = \"app\"\n[workspace]\n")
        .write("kest.toml", "[policies]\nknown = [\"a\"]\n");
    s.write("policies/a.cedar", "");
    assert!(s.check("a").unwrap_err().starts_with("no policy catalog to look up `a` in"));
}

#[test]
fn without_a_catalog() {
    let error = Scratch::new().check("kest/allow").unwrap_err();
    assert!(error.contains("from app/ up to the workspace root"), "{error}");
    assert!(error.contains("    [policies]\n    dir = \"policies\"\n"), "{error}");
}

#[test]
fn folder_is_relative_to_the_file_and_files_are_tracked() {
    let s = Scratch::new();
    s.write("app/kest.toml", "[policies]\ndir = \"../rules\"\n")
        .write("rules/kest/allow_trusted.rego", TRUSTED);
    let mut catalog = s.load().unwrap();
    catalog.check("kest/allow_trusted").unwrap();
    assert_eq!(catalog.reads(), [s.0.join("app/kest.toml"), s.0.join("rules/kest/allow_trusted.rego")]);
    assert!(s.check("x").unwrap_err().contains("(searched rules/)"));
}

#[test]
fn missing_folder_is_an_error() {
    let s = Scratch::new();
    s.write("kest.toml", "[policies]\ndir = \"polices\"\n");
    assert_eq!(s.load().unwrap_err(), "kest.toml: `dir` of `[policies]` names polices/, which is no folder");
}

#[test]
fn config_by_variable() {
    let s = Scratch::new();
    s.write("app/kest.toml", "[policies]\nknown = [\"near\"]\n")
        .write("else/k.toml", "[policies]\nknown = [\"named\"]\n");
    let path = s.0.join("else/k.toml");
    for value in ["else/k.toml", path.to_str().unwrap()] {
        let mut catalog = s.load_with(Some(value)).unwrap();
        catalog.check("named").unwrap();
        assert!(catalog.check("near").is_err());
        assert_eq!(catalog.config_seen().as_deref(), Some("else/k.toml"));
    }
    assert_eq!(
        s.load_with(Some("gone.toml")).unwrap_err(),
        "`KEST_CONFIG` names gone.toml, which is no file"
    );
    s.load_with(Some("")).unwrap().check("near").unwrap();
}

#[test]
fn no_path_of_the_machine_in_a_message() {
    let (s, other) = (Scratch::new(), Scratch::new());
    other.write("deep/k.toml", "[policies]\n").write("deep/policies/a.cedar", "");
    let path = other.0.join("deep/k.toml");
    let mut catalog = s.load_with(path.to_str()).unwrap();
    assert_eq!(catalog.config_seen().as_deref(), Some("k.toml"));
    assert!(catalog.check("zzz").unwrap_err().ends_with("(searched policies/)"));
}

#[test]
fn packages() {
    let s = Scratch::new();
    s.write("policies/kest/moved.rego", TRUSTED).write("policies/kest/bare.rego", "allow := true\n");
    s.write("policies/pay-pci/x.rego", "package pay_pci.x\n");
    assert_eq!(
        s.check("kest/moved").unwrap_err(),
        "policy `kest/moved`: policies/kest/moved.rego declares `package kest.allow_trusted`; \
         its path asks for `package kest.moved`"
    );
    assert!(s.check("kest/bare").unwrap_err().ends_with("asks for `package kest.bare`"));
    assert!(s.check("pay-pci/x").unwrap_err().contains("cannot name `pay-pci`"));
    s.write("kest.toml", "[policies]\nknown = [\"pay-pci/x\", \"kest/moved\"]\n");
    s.check("pay-pci/x").unwrap();
    assert!(s.check("kest/moved").is_err(), "a file that contradicts its name is wrong, listed or not");
}

#[test]
fn lock_and_known() {
    let s = Scratch::new();
    let digest = "a".repeat(64);
    let lock = format!("[[policy]]\nname = \"payments-pci/card\"\ndigest = \"sha256:{digest}\"\n");
    s.write("kest-policies.lock", &lock);
    s.check("payments-pci/card").unwrap();
    assert!(
        s.check("payments-pci/cart")
            .unwrap_err()
            .ends_with("`payments-pci/card`? (searched kest-policies.lock)")
    );
    assert_eq!(s.load().unwrap().reads(), [s.0.join("kest-policies.lock")]);
    s.write("kest-policies.lock", "[[policy]]\nname = 5\n");
    assert!(s.load().unwrap_err().starts_with("kest-policies.lock: line 2: "));
}

#[test]
fn check_off() {
    let s = Scratch::new();
    s.write("kest.toml", "[policies]\npolicy_check = \"off\"\n");
    s.check("anything/goes").unwrap();
}

#[test]
fn config_that_does_not_parse() {
    let s = Scratch::new();
    s.write("app/kest.toml", "[policies]\nfolder = \"x\"\n");
    assert!(s.load().unwrap_err().starts_with("app/kest.toml: line 2: unknown field `folder`"));
}
