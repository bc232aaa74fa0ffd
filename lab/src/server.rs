//! A server as a child process.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::pause;

/// How long a server may take to come up, or to go when it is asked to. The machine may be a busy one.
const LIMIT: Duration = Duration::from_secs(60);

/// A running server. It is killed, and all that it started, when this is dropped or the test process ends.
#[derive(Debug)]
pub struct Server {
    name: String,
    log: PathBuf,
    // Holds the pipe that the guard reads, too.
    child: Child,
}

impl Server {
    /// Starts a command made by [`guarded`] and waits until `ready` says yes. Its output is added to
    /// `<folder>/<name>.log`.
    ///
    /// # Errors
    /// When the server ended, or was not ready in time; with the end of its log. Mostly its port was taken by
    /// somebody else in between: try again with another.
    pub fn start(
        name: &str,
        folder: &Path,
        mut command: Command,
        mut ready: impl FnMut() -> bool,
    ) -> Result<Self, String> {
        let log = folder.join(format!("{name}.log"));
        let output =
            File::options().create(true).append(true).open(&log).map_err(|error| error.to_string())?;
        let errors = output.try_clone().map_err(|error| error.to_string())?;
        let child = command
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(|error| format!("{name} cannot be started: {error}"))?;
        let mut server = Self { name: name.to_owned(), log, child };
        let begun = Instant::now();
        while !ready() {
            if let Ok(Some(status)) = server.child.try_wait() {
                return Err(server.tail(&format!("ended with {status}")));
            }
            if begun.elapsed() > LIMIT {
                return Err(server.tail("was not ready in time"));
            }
            pause();
        }
        Ok(server)
    }

    /// Calls `start` up to three times, for what a port taken in between spoils.
    ///
    /// # Panics
    /// When it fails each time.
    pub fn start_again<T>(mut start: impl FnMut() -> Result<T, String>) -> T {
        let mut last = String::new();
        for _ in 0..3 {
            match start() {
                Ok(server) => return server,
                Err(error) => last = error,
            }
        }
        panic!("{last}");
    }

    /// Asks the server to end (`SIGTERM`) and waits until it has.
    ///
    /// # Panics
    /// When it does not.
    pub fn stop(mut self) {
        signal("TERM", &self.child.id().to_string());
        let begun = Instant::now();
        while self.child.try_wait().ok().flatten().is_none() {
            assert!(begun.elapsed() < LIMIT, "{}", self.tail("does not end"));
            pause();
        }
    }

    /// Sends it a signal, as `STOP`.
    pub fn signal(&self, name: &str) {
        signal(name, &self.child.id().to_string());
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    fn tail(&self, what: &str) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n  ");
        format!("{} {what}; the end of `{}`:\n  {tail}", self.name, self.log.display())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        signal("KILL", &format!("-{}", self.child.id()));
        let _ = self.child.wait();
    }
}

/// A command that runs `program`, with a guard in its process group that kills the group when the process that
/// started it is gone: static values are never dropped, and a test process may be killed.
#[must_use]
pub fn guarded(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", GUARD, "sh"]).arg(program);
    command
}

/// `exec` keeps the process id: the server is the child itself, also to an agent that looks at `/proc`.
const GUARD: &str = r#"exec 3<&0; (read -r _ <&3; kill -KILL 0) >/dev/null 2>&1 & exec "$@" </dev/null 3<&-"#;

/// A loopback TCP port that is free now, and that this process has not been given before.
///
/// It lies below those that Linux gives to connections (ip(7), `ip_local_port_range`): one of them could take it before
/// the server does that it is meant for.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(std::process::id().wrapping_mul(131)));
    (0..12_000)
        .map(|_| 20_000 + u16::try_from(NEXT.fetch_add(1, Ordering::Relaxed) % 12_000).unwrap())
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("a free port")
}

fn signal(name: &str, to: &str) {
    let _ = Command::new("kill").args(["-s", name, "--", to]).stderr(Stdio::null()).status();
}
