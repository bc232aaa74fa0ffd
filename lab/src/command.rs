//! The command `kest`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The program `kest` that `lab/run` builds: two folders over this test.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn command() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("kest");
    assert!(path.exists(), "`{}` is missing; `lab/run` builds it", path.display());
    path
}

/// Runs a program with these variables and no SPIFFE endpoint but a given one; gives its exit code and what it printed.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn run(program: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String) {
    let mut command = Command::new(program);
    command.args(arguments).env_remove("SPIFFE_ENDPOINT_SOCKET").envs(variables.iter().copied());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let mut text = String::from_utf8(output.stdout).unwrap();
    if !output.status.success() {
        text.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    (output.status.code().unwrap_or(-1), text)
}
