//! Running the other programs.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::workloads::Case;

/// Whether `KEST_INTEROP=1`; says how to run the tests if not.
pub fn interop() -> bool {
    let wanted = env::var_os("KEST_INTEROP").is_some_and(|value| value == "1");
    if !wanted {
        eprintln!("not run: needs Python and Node packages; `.ci/run` installs them and sets KEST_INTEROP=1");
    }
    wanted
}

/// Runs a script of `tests/interop/python`. The error is what it wrote to its standard error.
pub fn python(script: &str, arguments: &[&str]) -> Result<Value, String> {
    let mut command = Command::new(needed("KEST_INTEROP_PYTHON"));
    // -I: neither the environment nor the folder of the script add to what is imported; -B: no __pycache__.
    command.arg("-IB").arg(sources().join("python").join(script)).args(arguments);
    run(command)
}

/// Runs a script of `tests/interop/node`. The error is what it wrote to its standard error.
pub fn node(script: &str, arguments: &[&str]) -> Result<Value, String> {
    let modules = fs::canonicalize(needed("KEST_INTEROP_NODE_PATH")).unwrap();
    // Modules resolve from where a script lies, and nothing is installed beside the sources.
    let home = Folder::empty("node-home");
    let script_at = home.0.join(script);
    fs::copy(sources().join("node").join(script), &script_at).unwrap();
    std::os::unix::fs::symlink(modules, home.0.join("node_modules")).unwrap();
    let mut command = Command::new("node");
    command.arg(script_at).args(arguments);
    run(command)
}

/// Adds a line to the file `KEST_INTEROP_REPORT`, from which `.ci/run` sees that the comparison took place.
pub fn report(line: &str) {
    println!("interop: {line}");
    if let Some(path) = env::var_os("KEST_INTEROP_REPORT") {
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// A folder of passports and anchors, gone when dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn empty(name: &str) -> Self {
        static COUNTER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let unique = COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}-{unique}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub fn with(name: &str, cases: &[Case]) -> Self {
        let folder = Self::empty(name);
        for case in cases {
            folder.write(case.name, &case.passport.serialize(), &case.anchors.to_json().to_string());
        }
        folder
    }

    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    pub fn write(&self, case: &str, passport: &str, anchors: &str) {
        fs::write(self.0.join(format!("{case}.passport.json")), passport).unwrap();
        fs::write(self.0.join(format!("{case}.anchors.json")), anchors).unwrap();
    }

    /// Name, passport and anchors of each case, by name.
    pub fn read(&self) -> Vec<(String, String, String)> {
        let mut names: Vec<String> = fs::read_dir(&self.0)
            .unwrap()
            .filter_map(|file| {
                let name = file.unwrap().file_name().into_string().unwrap();
                name.strip_suffix(".passport.json").map(str::to_owned)
            })
            .collect();
        names.sort_unstable();
        let text =
            |name: &str, what: &str| fs::read_to_string(self.0.join(format!("{name}.{what}.json"))).unwrap();
        names
            .into_iter()
            .map(|name| (text(&name, "passport"), text(&name, "anchors"), name))
            .map(|(p, a, n)| (n, p, a))
            .collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn run(mut command: Command) -> Result<Value, String> {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    if !output.status.success() {
        return Err(err);
    }
    Ok(if out.trim().is_empty() { Value::Null } else { serde_json::from_str(&out).unwrap() })
}

fn needed(variable: &str) -> PathBuf {
    let value = env::var_os(variable).filter(|value| !value.is_empty());
    PathBuf::from(
        value.unwrap_or_else(|| {
            panic!("KEST_INTEROP=1 needs {variable}; see tests/interop.rs, or run `.ci/run`")
        }),
    )
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop")
}
