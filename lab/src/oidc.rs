//! An OpenID provider: npm `oidc-provider` under one of the programs in `lab/oidc/`.

use std::fs;
use std::os::unix::fs::symlink;

use crate::{Folder, Lab, Server, free_port, get, guarded, repository};

/// A running OpenID provider.
#[derive(Debug)]
pub struct OidcProvider {
    port: u16,
    server: Server,
    _folder: Folder,
}

impl OidcProvider {
    /// Starts `lab/oidc/<script>` with `PORT` and `ISSUER` set to a free port and the issuer URL on it, and what
    /// `variables` say. It is up once it answers on its discovery document.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(lab: &Lab, script: &str, variables: &[(&str, &str)]) -> Self {
        let folder = Folder::new();
        // A module finds the packages in a `node_modules` above itself, and nowhere else.
        symlink(lab.part("node/node_modules"), folder.path().join("node_modules")).unwrap();
        for file in fs::read_dir(repository().join("lab/oidc")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
        let (port, server) = Server::start_again(|| {
            let port = free_port();
            let mut command = guarded("node");
            command
                .arg(folder.path().join(script))
                .env("PORT", port.to_string())
                .env("ISSUER", issuer(port))
                .envs(variables.iter().copied())
                .current_dir(folder.path());
            let discovery = "/.well-known/openid-configuration";
            let healthy = || get(port, discovery).is_some_and(|answer| answer.status == 200);
            Ok((port, Server::start("oidc-provider", folder.path(), command, healthy)?))
        });
        Self { port, server, _folder: folder }
    }

    /// The issuer URL, which is also where it listens.
    #[must_use]
    pub fn issuer(&self) -> String {
        issuer(self.port)
    }

    /// Its loopback port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }
}

fn issuer(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}
