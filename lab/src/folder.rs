//! Where the servers of one test process write: configurations, sockets, data, logs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once};

/// A fresh folder with a short name, as sockets want it (108 bytes at most, `unix(7)`).
///
/// It goes when the test process has ended, however it ended, unless a test failed or `KEST_LAB_KEEP` is set.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    // Its standard input closes with this process, also when that is killed.
    _janitor: Child,
}

impl Folder {
    /// Makes the folder.
    ///
    /// # Panics
    /// When the system refuses.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let process = std::process::id();
        let path =
            std::env::temp_dir().join(format!("kest-lab-{process}-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&path).unwrap_or_else(|error| panic!("cannot make `{}`: {error}", path.display()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        keep_after_a_failure(path.clone());
        let janitor = Command::new("sh")
            .args(["-c", JANITOR, "sh"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("`sh` starts");
        Self { path, _janitor: janitor }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder in it, made if it is not there.
    ///
    /// # Panics
    /// When the system refuses.
    #[must_use]
    pub fn sub(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// A program under another name: a hard link, or a copy where that cannot be. To a `unix:path` selector it is
    /// another workload.
    ///
    /// # Panics
    /// When the system refuses.
    #[must_use]
    pub fn program(&self, original: &Path, name: &str) -> PathBuf {
        let path = self.sub("bin").join(name);
        if fs::hard_link(original, &path).is_err() {
            fs::copy(original, &path).unwrap();
        }
        path
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

/// The servers die at the same time and may still write: try for some seconds.
const JANITOR: &str = r#"
read -r _
[ -n "$KEST_LAB_KEEP" ] || [ -e "$1/failed" ] && exit
for _ in 1 2 3 4 5; do rm -rf "$1" && exit; sleep 1; done"#;

/// Which test failed, and in which folder, is not known where tests share servers: a failure keeps all that there are.
fn keep_after_a_failure(path: PathBuf) {
    static FOLDERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    static HOOK: Once = Once::new();
    FOLDERS.lock().unwrap().push(path);
    HOOK.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            previous(panic);
            // Each once, and not those that are gone.
            for path in FOLDERS.lock().unwrap().drain(..) {
                if fs::write(path.join("failed"), "").is_ok() {
                    eprintln!("what the servers wrote stays in `{}`", path.display());
                }
            }
        }));
    });
}
