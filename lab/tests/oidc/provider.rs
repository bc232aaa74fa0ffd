//! The provider as a client sees it, and forged tokens.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::{fs, thread};

use base64_simd::{STANDARD, URL_SAFE_NO_PAD};
use kest::keys::{Jwk, hmac_sha256};
use kest_lab::{Folder, Lab, OidcProvider, get};
use serde_json::{Value, json};

/// A running provider.
pub(crate) struct Provider(OidcProvider);

impl Provider {
    pub(crate) fn start() -> Option<Self> {
        Lab::from_env().map(|lab| Self(OidcProvider::start(&lab, "provider.mjs", &[])))
    }

    pub(crate) fn issuer(&self) -> String {
        self.0.issuer()
    }

    /// An access token, as every client gets one: RFC 6749 §4.4 with RFC 8707.
    pub(crate) fn token(&self, client: &str, resource: &str) -> String {
        let credentials = STANDARD.encode_to_string(format!("{client}:{client}-secret"));
        let headers = format!(
            "Authorization: Basic {credentials}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        );
        let body = format!("grant_type=client_credentials&resource={resource}");
        let answer: Value = serde_json::from_str(&self.post("/token", &headers, &body)).unwrap();
        answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// A token with a lifetime, or bound to a key.
    pub(crate) fn special_token(&self, wishes: &Value) -> String {
        self.post("/_lab/token", "", &wishes.to_string())
    }

    pub(crate) fn rotate(&self) {
        self.post("/_lab/rotate", "", "");
    }

    pub(crate) fn drop_old_keys(&self) {
        self.post("/_lab/drop-old", "", "");
    }

    /// The published key with that `kid`, if there is one.
    pub(crate) fn key(&self, kid: &str) -> Option<Jwk> {
        let set: Value = serde_json::from_str(&get(self.0.port(), "/jwks").unwrap().body).unwrap();
        let key = set["keys"].as_array().unwrap().iter().find(|key| key["kid"] == kid)?;
        Some(Jwk::from_json(key).unwrap())
    }

    fn post(&self, path: &str, headers: &str, body: &str) -> String {
        let port = self.0.port();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let length = body.len();
        write!(
            stream,
            "POST {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.split(' ').nth(1) == Some("200"), "`{path}`: {text}");
        body.to_owned()
    }
}

/// A token's file.
pub(crate) struct TokenFile {
    path: PathBuf,
    _folder: Folder,
}

impl TokenFile {
    pub(crate) fn new(token: &str) -> Self {
        let folder = Folder::new();
        let file = Self { path: folder.path().join("token"), _folder: folder };
        file.put(token);
        file
    }

    pub(crate) fn put(&self, token: &str) {
        let new = self.path.with_extension("new");
        fs::write(&new, token).unwrap();
        fs::rename(&new, &self.path).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The token with another algorithm, signed with the public key as if it were a shared secret.
pub(crate) fn confused(token: &str, key: &Jwk) -> String {
    let header = json!({"alg": "HS256", "typ": "at+jwt", "kid": key.kid().unwrap()});
    let claims = token.split('.').nth(1).unwrap();
    let input = format!("{}.{claims}", URL_SAFE_NO_PAD.encode_to_string(header.to_string()));
    let tag = hmac_sha256(key.to_pem().unwrap().as_bytes(), input.as_bytes());
    format!("{input}.{}", URL_SAFE_NO_PAD.encode_to_string(tag))
}

/// The token without signature.
pub(crate) fn unsigned(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode_to_string(json!({"alg": "none", "typ": "at+jwt"}).to_string());
    format!("{header}.{}.", token.split('.').nth(1).unwrap())
}

/// The token with another `sub` under the old signature.
pub(crate) fn altered(token: &str) -> String {
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        panic!("three segments")
    };
    let claims = String::from_utf8(URL_SAFE_NO_PAD.decode_to_vec(claims).unwrap()).unwrap();
    let claims = claims.replace("\"sub\":\"kest-", "\"sub\":\"best-");
    format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode_to_string(claims))
}

/// The address of a server that takes requests and never answers.
pub(crate) fn silent_server() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let held: Vec<TcpStream> = listener.incoming().flatten().collect();
        drop(held);
    });
    format!("http://{address}")
}
