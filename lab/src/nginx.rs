//! nginx in front of a service.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};

use crate::{Folder, Lab, Server, free_port, guarded};

/// A running nginx with the limits of its package, which passes everything on to one port.
#[derive(Debug)]
pub struct Nginx {
    port: u16,
    _server: Server,
    _folder: Folder,
}

const CONFIG: &str = r"
daemon off;
master_process off;
pid @FOLDER@/nginx.pid;
error_log stderr info;
events {}
http {
    access_log @FOLDER@/access.log;
    client_body_temp_path @FOLDER@/body;
    proxy_temp_path @FOLDER@/proxy;
    fastcgi_temp_path @FOLDER@/fastcgi;
    uwsgi_temp_path @FOLDER@/uwsgi;
    scgi_temp_path @FOLDER@/scgi;
    server {
        listen 127.0.0.1:@PORT@;
        location / {
            proxy_pass http://127.0.0.1:@UPSTREAM@;
            proxy_http_version 1.1;
        }
    }
}
";

impl Nginx {
    /// Starts it in front of a loopback port.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(lab: &Lab, upstream: u16) -> Self {
        let folder = Folder::new();
        let (port, server) = Server::start_again(|| {
            let port = free_port();
            let path = folder.path().display().to_string();
            let config = CONFIG
                .replace("@FOLDER@", &path)
                .replace("@PORT@", &port.to_string())
                .replace("@UPSTREAM@", &upstream.to_string());
            let file = folder.path().join("nginx.conf");
            fs::write(&file, config).unwrap();
            let mut command = guarded(lab.part("debian/bin/nginx"));
            command.arg("-e").arg("stderr").arg("-p").arg(folder.path()).arg("-c").arg(&file);
            let up = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
            Ok((port, Server::start("nginx", folder.path(), command, up)?))
        });
        Self { port, _server: server, _folder: folder }
    }

    /// Where it listens: `127.0.0.1:<port>`.
    #[must_use]
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}
