//! A service in Python, with Kest's package for it.

use serde_json::Value;

use crate::{Folder, Lab, Server, free_port, get, guarded, repository};

/// A running `lab/python/hop.py`.
#[derive(Debug)]
pub struct PythonHop {
    port: u16,
    server: Server,
    _folder: Folder,
}

impl PythonHop {
    /// Starts it as the workload `id`.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(lab: &Lab, id: &str) -> Self {
        let folder = Folder::new();
        let (port, server) = Server::start_again(|| {
            let port = free_port();
            let mut command = guarded(lab.part("hop/bin/python"));
            command
                .args(["-m", "uvicorn", "hop:app", "--host", "127.0.0.1", "--port", &port.to_string()])
                .arg("--app-dir")
                .arg(repository().join("lab/python"))
                .env("WORKLOAD", id)
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .current_dir(folder.path());
            let up = || get(port, "/anchors").is_some_and(|answer| answer.status == 200);
            Ok((port, Server::start("python-hop", folder.path(), command, up)?))
        });
        Self { port, server, _folder: folder }
    }

    /// Its loopback port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens: `http://127.0.0.1:<port>`.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The trust anchors for what it signs.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn anchors(&self) -> Value {
        serde_json::from_str(&get(self.port, "/anchors").expect("anchors").body).unwrap()
    }

    /// The process.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }
}
