//! Platforms that give identities, as far as the command asks them: an HTTP server on a loopback port.
#![allow(dead_code, reason = "not every test file uses all of it")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use base64_simd::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey};
use kest_core::keys::Jwk;
use serde_json::json;

use crate::support::{Run, kest};

const JSON: &str = "application/json";

/// Serves one answer to each request, as `answer` makes it from the request's path and body.
fn serve(answer: impl Fn(&str, &str) -> (&'static str, String) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A client that went away is none of ours.
            let _ = respond(stream.unwrap(), &answer);
        }
    });
    address
}

fn respond(
    mut stream: TcpStream,
    answer: &impl Fn(&str, &str) -> (&'static str, String),
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().unwrap();
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (kind, body) = answer(&path, &String::from_utf8(body).unwrap());
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n");
    write!(stream, "{head}connection: close\r\n\r\n{body}")
}

/// STS and KMS, with an Ed25519 key.
pub(crate) struct Aws {
    address: String,
    pub(crate) key: Jwk,
}

pub(crate) const CALLER: &str = "arn:aws:sts::123456789012:assumed-role/orders/task-1";
const KEY_ARN: &str = "arn:aws:kms:eu-north-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";
pub(crate) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

impl Aws {
    pub(crate) fn new() -> Self {
        let key = Jwk::ed25519(SigningKey::from_bytes(&[5; 32]).verifying_key().as_bytes());
        let public = STANDARD.encode_to_string(key.to_spki());
        let address = serve(move |_, body| {
            if body.contains("Action=GetCallerIdentity") {
                let result = format!(
                    "<GetCallerIdentityResult><Arn>{CALLER}</Arn><UserId>AROA:task-1</UserId>\
                     <Account>123456789012</Account></GetCallerIdentityResult>"
                );
                let namespace = "https://sts.amazonaws.com/doc/2011-06-15/";
                let answer = format!(
                    "<GetCallerIdentityResponse xmlns=\"{namespace}\">{result}<ResponseMetadata>\
                     <RequestId>1</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
                );
                return ("text/xml", answer);
            }
            let answer = json!({
                "KeyId": KEY_ARN,
                "PublicKey": public,
                "KeySpec": "ECC_NIST_EDWARDS25519",
                "CustomerMasterKeySpec": "ECC_NIST_EDWARDS25519",
                "KeyUsage": "SIGN_VERIFY",
                "SigningAlgorithms": ["ED25519_SHA_512"],
            });
            ("application/x-amz-json-1.1", answer.to_string())
        });
        Self { address, key }
    }

    /// Runs the command as a workload there.
    pub(crate) fn run(&self, args: &[&str], environment: &[(&str, &str)]) -> Run {
        let mut command = kest(args);
        command
            .env("AWS_ENDPOINT_URL", format!("http://{}", self.address))
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_REGION", "eu-north-1")
            .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .envs(environment.iter().copied());
        command.output().unwrap().into()
    }
}

/// An OpenID Connect issuer, and a token of it in a file.
pub(crate) struct Issuer {
    pub(crate) issuer: String,
    pub(crate) token: String,
    pub(crate) path: PathBuf,
}

impl Issuer {
    pub(crate) fn new(folder: &Path) -> Self {
        let signing = SigningKey::from_bytes(&[6; 32]);
        let key = Jwk::ed25519(signing.verifying_key().as_bytes());
        let (kid, jwks) = (key.thumbprint(), json!({"keys": [key.to_json()]}).to_string());
        // The address is known only when the server runs, and its documents name it.
        let (tell, told) = std::sync::mpsc::channel::<String>();
        let told = std::sync::Mutex::new(told);
        let known = std::sync::OnceLock::new();
        let address = serve(move |path, _| {
            let issuer: &String = known.get_or_init(|| told.lock().unwrap().recv().unwrap());
            if path == "/jwks" {
                return (JSON, jwks.clone());
            }
            assert_eq!(path, "/.well-known/openid-configuration");
            (JSON, json!({"issuer": issuer, "jwks_uri": format!("{issuer}/jwks")}).to_string())
        });
        let issuer = format!("http://{address}");
        tell.send(issuer.clone()).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let header = json!({"alg": "EdDSA", "kid": kid, "typ": "JWT"}).to_string();
        let claims = json!({
            "iss": issuer, "sub": "repo:example/orders:ref:refs/heads/main", "aud": "kest",
            "iat": now, "nbf": now, "exp": now + 3600,
        });
        let part = |text: &str| URL_SAFE_NO_PAD.encode_to_string(text);
        let input = format!("{}.{}", part(&header), part(&claims.to_string()));
        let signature = URL_SAFE_NO_PAD.encode_to_string(signing.sign(input.as_bytes()).to_bytes());
        let token = format!("{input}.{signature}");
        let path = folder.join("token");
        fs::write(&path, &token).unwrap();
        Self { issuer, token, path }
    }
}
