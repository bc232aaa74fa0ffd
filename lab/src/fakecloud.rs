//! AWS Verified Permissions as fakecloud plays it.

use crate::{Folder, Lab, Server, free_port, get, guarded};

/// A running fakecloud, empty at the start.
#[derive(Debug)]
pub struct Fakecloud {
    port: u16,
    _server: Server,
    _folder: Folder,
}

impl Fakecloud {
    /// Starts it on a free port.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(lab: &Lab) -> Self {
        let folder = Folder::new();
        let (port, server) = Server::start_again(|| {
            let port = free_port();
            let mut command = guarded(lab.part("fakecloud/bin/fakecloud"));
            command
                .args(["--addr", &format!("127.0.0.1:{port}"), "--log-level", "warn"])
                // `test`/`test` may do everything; others must have credentials that it gave out.
                .arg("--verify-sigv4")
                .env("HOME", folder.path())
                .env("TMPDIR", folder.path())
                .current_dir(folder.path());
            let healthy = || get(port, "/_fakecloud/health").is_some_and(|answer| answer.status == 200);
            Ok((port, Server::start("fakecloud", folder.path(), command, healthy)?))
        });
        Self { port, _server: server, _folder: folder }
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What to set as endpoint URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
