//! The Open Policy Agent.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rcgen::{CertifiedKey, generate_simple_self_signed};

use crate::{Folder, Lab, Server, free_port, get, guarded};

/// A running OPA with the policies of a folder, which it watches.
#[derive(Debug)]
pub struct Opa {
    program: PathBuf,
    port: u16,
    policies: PathBuf,
    access: Option<Access>,
    folder: Folder,
    server: Mutex<Option<Server>>,
}

/// What a guarded OPA wants, and shows.
#[derive(Debug)]
struct Access {
    certificate: String,
}

impl Opa {
    /// Starts it on a free port with the `.rego` files of `policies`.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(lab: &Lab, policies: &Path) -> Self {
        Self::start_with(lab, policies, None)
    }

    /// Starts it with TLS, and answers only those who send `token`.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start_guarded(lab: &Lab, policies: &Path, token: &str) -> Self {
        Self::start_with(lab, policies, Some(token))
    }

    fn start_with(lab: &Lab, policies: &Path, token: Option<&str>) -> Self {
        let folder = Folder::new();
        let access = token.map(|token| Access::new(&folder, token));
        let program = lab.part("opa/opa");
        let policies = policies.to_owned();
        let (port, server) = Server::start_again(|| {
            let port = free_port();
            Ok((port, run(&program, port, &policies, access.is_some(), &folder)?))
        });
        Self { program, port, policies, access, folder, server: Mutex::new(Some(server)) }
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.access.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The certificate that a client must trust, in PEM. Empty when there is no TLS.
    #[must_use]
    pub fn certificate(&self) -> &str {
        self.access.as_ref().map_or("", |access| &access.certificate)
    }

    /// Kills it: whoever waits for an answer gets none.
    ///
    /// # Panics
    /// When it is not running.
    pub fn kill(&self) {
        drop(self.server.lock().unwrap().take().expect("a running OPA"));
    }

    /// Starts it again on its port.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart(&self) {
        let server = run(&self.program, self.port, &self.policies, self.access.is_some(), &self.folder);
        *self.server.lock().unwrap() = Some(server.unwrap_or_else(|error| panic!("{error}")));
    }

    /// Stops it where it is (`SIGSTOP`): its socket takes connections, and nobody answers.
    ///
    /// # Panics
    /// When it is not running.
    pub fn freeze(&self) {
        self.server.lock().unwrap().as_ref().expect("a running OPA").signal("STOP");
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When it is not running.
    pub fn thaw(&self) {
        self.server.lock().unwrap().as_ref().expect("a running OPA").signal("CONT");
    }
}

impl Access {
    fn new(folder: &Folder, token: &str) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        let certificate = cert.pem();
        fs::write(folder.path().join("certificate.pem"), &certificate).unwrap();
        fs::write(folder.path().join("key.pem"), signing_key.serialize_pem()).unwrap();
        let rule = format!(
            "package system.authz\n\ndefault allow := false\n\nallow if input.identity == {token:?}\n"
        );
        fs::write(folder.sub("access").join("access.rego"), rule).unwrap();
        Self { certificate }
    }
}

fn run(program: &Path, port: u16, policies: &Path, access: bool, folder: &Folder) -> Result<Server, String> {
    let mut command = guarded(program);
    command
        .args(["run", "--server", "--watch", "--skip-version-check", "--log-level", "error"])
        .args(["--addr", &format!("127.0.0.1:{port}")])
        .current_dir(folder.path())
        .arg(policies);
    if access {
        command.args(["--authentication=token", "--authorization=basic"]).args([
            "--tls-cert-file",
            "certificate.pem",
            "--tls-private-key-file",
            "key.pem",
            "access",
        ]);
    }
    // It listens when its policies are loaded. Where it speaks TLS, it tells so whoever does not.
    let wanted = if access { 400 } else { 200 };
    let healthy = || get(port, "/health").is_some_and(|answer| answer.status == wanted);
    Server::start("opa", folder.path(), command, healthy)
}
