//! Redis, with TLS and a password.

use std::fs;
use std::process::{Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::hops::RedisAt;
use crate::{Folder, Lab, Server, free_port, guarded};

/// A Redis that keeps nothing on disk: a restart forgets every claim.
#[derive(Debug)]
pub struct Redis {
    lab: Lab,
    folder: Folder,
    at: RedisAt,
    port: u16,
    server: Option<Server>,
}

const PASSWORD: &str = "open sesame: a+b/c?";

impl Redis {
    /// Starts it on a free port, with a certificate for 127.0.0.1.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(lab: &Lab) -> Self {
        let folder = Folder::new();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // To OpenSSL a leaf with its issuer's name has signed itself.
        params.distinguished_name.push(DnType::CommonName, "authority");
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf =
            CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        for (name, text) in [("ca.pem", ca.pem()), ("leaf.pem", leaf.pem()), ("key.pem", key.serialize_pem())]
        {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let port = free_port();
        let url = format!("rediss://127.0.0.1:{port}");
        let at = RedisAt { url, password: PASSWORD.to_owned(), ca: ca.pem() };
        let mut redis = Self { lab: lab.clone(), folder, at, port, server: None };
        redis.resume();
        redis
    }

    /// How to reach it.
    #[must_use]
    pub fn at(&self) -> RedisAt {
        self.at.clone()
    }

    /// Stops it.
    ///
    /// # Panics
    /// When it is not running, or does not end.
    pub fn stop(&mut self) {
        self.server.take().expect("a running server").stop();
    }

    /// Starts it again on its port, empty.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn resume(&mut self) {
        let file = |name: &str| self.folder.path().join(name);
        let mut command = guarded(self.lab.part("debian/bin/redis-server"));
        command
            .args(["--bind", "127.0.0.1", "--port", "0", "--tls-port", &self.port.to_string()])
            .args(["--tls-auth-clients", "no", "--save", "", "--requirepass", PASSWORD])
            .arg("--tls-cert-file")
            .arg(file("leaf.pem"))
            .arg("--tls-key-file")
            .arg(file("key.pem"))
            .arg("--tls-ca-cert-file")
            .arg(file("ca.pem"))
            .current_dir(self.folder.path());
        let up = || self.tell(&["PING"]).is_some_and(|answer| answer.trim() == "PONG");
        let server = Server::start("redis", self.folder.path(), command, up);
        self.server = Some(server.unwrap_or_else(|error| panic!("{error}")));
    }

    /// What it answers to a command, as `KEYS *`.
    ///
    /// # Panics
    /// When its client cannot be started.
    #[must_use]
    pub fn tell(&self, command: &[&str]) -> Option<String> {
        let output = Command::new(self.lab.part("debian/bin/redis-cli"))
            .args(["-p", &self.port.to_string(), "--tls", "--cacert"])
            .arg(self.folder.path().join("ca.pem"))
            .env("REDISCLI_AUTH", PASSWORD)
            .args(command)
            .stderr(Stdio::null())
            .output()
            .unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
