//! Cargo builds again when what the macro read of the policy catalog changes or goes. Spec §7.
//!
//! The scratch package brings its own stand-in for the run-time, so only `kest-macros` is compiled.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const MAIN: &str = r#"
mod kest_stub;
use kest_macros::kest_verified;

#[kest_verified(policy = "shop/order", crate = crate::kest_stub)]
fn order(id: u32) -> Result<u32, kest_stub::Error> {
    Ok(id)
}

fn main() {
    println!("{:?}", order(7));
}
"#;

/// Of `kest::__private`, what a plain synchronous function needs.
const STUB: &str = r"
#[derive(Debug)]
pub struct Error;

pub mod __private {
    use super::Error;

    #[allow(dead_code)]
    pub struct CallSpec {
        pub operation: &'static str,
        pub span: &'static str,
        pub function: &'static str,
        pub policies: &'static [&'static str],
        pub classification: &'static str,
        pub source_type: Option<&'static str>,
        pub added_taints: &'static [&'static str],
        pub removed_taints: &'static [&'static str],
        pub trust_override: Option<u8>,
        pub sanitizer: bool,
        pub labels: &'static [(&'static str, &'static str)],
        pub config_seen: Option<&'static str>,
    }

    pub struct Invocation(&'static CallSpec);

    impl Invocation {
        pub fn new(call: &'static CallSpec) -> Self {
            Self(call)
        }
    }

    pub trait Denied {
        fn denied(error: Error) -> Self;
        fn is_error(&self) -> bool;
    }

    impl<T> Denied for Result<T, Error> {
        fn denied(error: Error) -> Self {
            Err(error)
        }
        fn is_error(&self) -> bool {
            self.is_err()
        }
    }

    pub fn begin_sync(inv: Invocation) -> Result<(), Error> {
        if inv.0.policies.is_empty() { Err(Error) } else { Ok(()) }
    }

    pub fn run_in_scope<R>((): (), is_error: impl FnOnce(&R) -> bool, body: impl FnOnce() -> R) -> R {
        let value = body();
        is_error(&value);
        value
    }
}
";

#[test]
fn the_build_follows_the_catalog() {
    let scratch = Scratch::new();
    scratch.write("policies/shop/other.rego", "package shop.other\n");
    scratch.fails("unknown policy `shop/order`");

    scratch.write("policies/shop/order.rego", "package shop.order\n");
    scratch.builds("a policy file was added");
    scratch.is_fresh();

    scratch.write("policies/shop/order.rego", "package shop.orders\n");
    scratch.fails("declares `package shop.orders`; its path asks for `package shop.order`");

    scratch.write("policies/shop/order.rego", "package shop.order\n");
    scratch.builds("the package was put right");

    scratch.remove("policies/shop/order.rego");
    scratch.fails("unknown policy `shop/order`");

    scratch.write("kest.toml", "[policies]\nknown = [\"shop/order\"]\n");
    scratch.builds("kest.toml knows the name");
    scratch.is_fresh();

    scratch.write("kest.toml", "[policies]\nknown = [\"shop/ordre\"]\n");
    scratch.fails("did you mean `shop/ordre` or `shop/other`?");

    let digest = "0".repeat(64);
    let lock = format!("[[policy]]\nname = \"shop/order\"\ndigest = \"sha256:{digest}\"\n");
    scratch.write("kest-policies.lock", &lock);
    scratch.builds("the lock has the name");

    scratch.remove("kest-policies.lock");
    scratch.fails("did you mean `shop/ordre` or `shop/other`?");

    scratch.write("elsewhere.toml", "[policies]\nknown = [\"shop/order\"]\n");
    let output = scratch.cargo(Some("elsewhere.toml"));
    assert!(output.0, "KEST_CONFIG names another file: {}", output.1);
    scratch.fails("did you mean `shop/ordre` or `shop/other`?");
}

/// A package of one function, with a target folder of its own.
struct Scratch {
    package: PathBuf,
    target: PathBuf,
}

impl Scratch {
    fn new() -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("catalog_rebuild");
        let scratch = Self { package: root.join("package"), target: root.join("target") };
        if scratch.package.exists() {
            fs::remove_dir_all(&scratch.package).unwrap();
        }
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let macros = workspace.join("kest-macros");
        let manifest = format!(
            "[package]\nname = \"scratch\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
             [dependencies]\nkest-macros = {{ path = '{}' }}\n",
            macros.display()
        );
        scratch.write("Cargo.toml", &manifest);
        // The same versions as the workspace's, so that nothing has to be fetched.
        scratch.write("Cargo.lock", &fs::read_to_string(workspace.join("Cargo.lock")).unwrap());
        scratch.write("src/main.rs", MAIN);
        scratch.write("src/kest_stub.rs", STUB);
        scratch
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.package.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.package.join(path)).unwrap();
    }

    /// Builds once; whether it succeeded, and what cargo said.
    fn cargo(&self, config: Option<&str>) -> (bool, String) {
        let mut command = Command::new(env!("CARGO"));
        command.args(["build", "--offline", "--color", "never"]).current_dir(&self.package);
        command.env("CARGO_TARGET_DIR", &self.target).env_remove("KEST_CONFIG").env_remove("RUSTFLAGS");
        if let Some(path) = config {
            command.env("KEST_CONFIG", path);
        }
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    }

    fn builds(&self, why: &str) {
        let (success, text) = self.cargo(None);
        assert!(success, "should build, {why}:\n{text}");
        assert!(text.contains("Compiling scratch"), "should have been built again, {why}:\n{text}");
    }

    /// What is tracked does not make cargo build for nothing.
    fn is_fresh(&self) {
        let (success, text) = self.cargo(None);
        assert!(success && !text.contains("Compiling"), "should be fresh:\n{text}");
    }

    fn fails(&self, message: &str) {
        let (success, text) = self.cargo(None);
        assert!(!success, "should fail with {message}:\n{text}");
        assert!(text.contains(message), "should fail with {message}:\n{text}");
        let error = text.split_once("error: ").unwrap().1;
        assert!(!error.contains(self.package.to_str().unwrap()), "a path of the machine is in\n{error}");
    }
}
