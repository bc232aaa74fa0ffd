//! cedar-agent, which answers by the Cedar policies that are sent to it.

use serde_json::{Value, json};

use crate::{Folder, Lab, Server, free_port, get, guarded, send};

/// A running cedar-agent.
#[derive(Debug)]
pub struct CedarAgent {
    port: u16,
    token: Option<String>,
    _server: Server,
    _folder: Folder,
}

impl CedarAgent {
    /// Starts it on a free port, without policies. With a `token`, it answers only those who send that.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(lab: &Lab, token: Option<&str>) -> Self {
        let folder = Folder::new();
        let (port, server) = Server::start_again(|| {
            let port = free_port();
            let mut command = guarded(lab.part("cedar-agent/bin/cedar-agent"));
            command.args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--log-level", "warn"]);
            if let Some(token) = token {
                command.args(["--authentication", token]);
            }
            // It reads a `Rocket.toml` where it stands.
            command.current_dir(folder.path());
            let healthy =
                || get(port, "/v1/").is_some_and(|answer| answer.status == 204 || answer.status == 200);
            Ok((port, Server::start("cedar-agent", folder.path(), command, healthy)?))
        });
        Self { port, token: token.map(str::to_owned), _server: server, _folder: folder }
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Replaces all that it holds by these: an id and the text of one policy each.
    ///
    /// # Panics
    /// When it refuses them.
    pub fn put(&self, policies: &[(String, String)]) {
        let policies: Vec<Value> =
            policies.iter().map(|(id, content)| json!({"id": id, "content": content})).collect();
        let token = self.token.as_deref().map(|token| ("authorization", token));
        let headers = [("content-type", "application/json")].into_iter().chain(token).collect::<Vec<_>>();
        let answer = send(self.port, "PUT", "/v1/policies", &headers, &Value::from(policies).to_string());
        assert_eq!(answer.as_ref().map(|answer| answer.status), Some(200), "{answer:?}");
    }
}
