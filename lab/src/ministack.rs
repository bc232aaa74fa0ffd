//! AWS KMS and STS as ministack plays them.

use crate::{Folder, Lab, Server, free_port, get, guarded};

/// A running ministack, empty at the start.
#[derive(Debug)]
pub struct Ministack {
    port: u16,
    server: Server,
    _folder: Folder,
}

impl Ministack {
    /// Starts it on a free port.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(lab: &Lab) -> Self {
        let folder = Folder::new();
        let (port, server) = Server::start_again(|| {
            let port = free_port();
            let mut command = guarded(lab.part("python/bin/ministack"));
            command
                .env("BIND_HOST", "127.0.0.1")
                .env("GATEWAY_PORT", port.to_string())
                .env("HOME", folder.path())
                .env("TMPDIR", folder.path())
                .current_dir(folder.path());
            let healthy = || get(port, "/_ministack/health").is_some_and(|answer| answer.status == 200);
            Ok((port, Server::start("ministack", folder.path(), command, healthy)?))
        });
        Self { port, server, _folder: folder }
    }

    /// What to set as endpoint URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The process.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }
}
