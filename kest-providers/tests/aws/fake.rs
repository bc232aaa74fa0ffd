//! STS and KMS on a loopback port, for the answers that no emulator gives.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use aws_lc_rs::digest::{Digest, SHA256, SHA384};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64_simd::STANDARD;
use kest_core::keys::Jwk;
use kest_providers::identity::aws::Credentials;
use kest_providers::identity::{AwsWorkloadIdentity, AwsWorkloadIdentityBuilder};
use serde_json::{Value, json};

pub(crate) const CALLER: &str = "arn:aws:sts::123456789012:assumed-role/payments/task-1";
pub(crate) const KEY_ARN: &str =
    "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";
pub(crate) const SECRET: &str = "wJalrXUtnFEMI-do-not-show-this";
pub(crate) const TOKEN: &str = "FwoGZXIvYXdzE-nor-this";

/// What was asked.
pub(crate) struct Request {
    /// `GetCallerIdentity`, `GetPublicKey` or `Sign`.
    pub(crate) action: String,
    /// The body, where it is JSON.
    pub(crate) body: Value,
}

/// What is answered.
pub(crate) enum Reply {
    Xml(u16, String),
    Json(u16, Value),
    /// This, and then the connection is closed.
    Raw(&'static str),
    /// Nothing, until the other side gives up.
    Silence,
}

type Answer = dyn Fn(&Request) -> Reply + Send + Sync;

pub(crate) struct Fake {
    port: u16,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Fake {
    pub(crate) fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let fake = Self { port: listener.local_addr().unwrap().port(), asked: Arc::default() };
        let (asked, answer): (_, Arc<Answer>) = (Arc::clone(&fake.asked), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (asked, answer) = (Arc::clone(&asked), Arc::clone(&answer));
                thread::spawn(move || while serve(&stream, &asked, &*answer).is_some() {});
            }
        });
        fake
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How often this was asked.
    pub(crate) fn count(&self, action: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|(asked, _)| asked == action).count()
    }

    /// The bodies of such requests.
    pub(crate) fn bodies(&self, action: &str) -> Vec<Value> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(asked, _)| asked == action).map(|(_, body)| body.clone()).collect()
    }

    /// An identity that asks here.
    pub(crate) fn identity(&self) -> AwsWorkloadIdentityBuilder {
        AwsWorkloadIdentity::builder()
            .kms_key_id("alias/signing")
            .region("eu-west-1")
            .endpoint_url(self.url())
            .credentials_provider(credentials())
    }
}

pub(crate) fn credentials() -> Credentials {
    Credentials::new("AKIDEXAMPLE", SECRET, Some(TOKEN.to_owned()), None, "test")
}

fn serve(mut stream: &TcpStream, asked: &Mutex<Vec<(String, Value)>>, answer: &Answer) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let mut body = vec![0; header("content-length:").map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).ok()?;
    let action = match header("x-amz-target:") {
        Some("trentservice.getpublickey") => "GetPublicKey",
        Some("trentservice.sign") => "Sign",
        None if body.starts_with(b"Action=GetCallerIdentity&") => "GetCallerIdentity",
        other => panic!("{other:?} {}", String::from_utf8_lossy(&body)),
    };
    let request =
        Request { action: action.to_owned(), body: serde_json::from_slice(&body).unwrap_or_default() };
    asked.lock().unwrap().push((request.action.clone(), request.body.clone()));
    let (status, kind, body) = match answer(&request) {
        Reply::Xml(status, body) => (status, "text/xml", body),
        Reply::Json(status, body) => (status, "application/x-amz-json-1.1", body.to_string()),
        Reply::Raw(bytes) => {
            stream.write_all(bytes.as_bytes()).ok()?;
            return None;
        }
        Reply::Silence => {
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let _ = stream.read(&mut [0]);
            return None;
        }
    };
    let length = body.len();
    let text =
        format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).ok()
}

/// What STS answers, well.
pub(crate) fn caller() -> Reply {
    caller_is(CALLER, "123456789012")
}

pub(crate) fn caller_is(arn: &str, account: &str) -> Reply {
    Reply::Xml(
        200,
        format!(
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
             <Arn>{arn}</Arn><UserId>U</UserId><Account>{account}</Account></GetCallerIdentityResult>\
             <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
        ),
    )
}

/// An error of STS.
pub(crate) fn sts_error(status: u16, code: &str) -> Reply {
    Reply::Xml(
        status,
        format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
             <Code>{code}</Code><Message>as asked</Message></Error><RequestId>r</RequestId></ErrorResponse>"
        ),
    )
}

/// An error of KMS.
pub(crate) fn kms_error(status: u16, code: &str) -> Reply {
    Reply::Json(status, json!({"__type": code, "message": "as asked\u{1b}[31m"}))
}

/// A key of KMS.
pub(crate) enum Key {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Rsa(signature::RsaKeyPair),
}

impl Key {
    pub(crate) fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    pub(crate) fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    pub(crate) fn p384() -> Self {
        Self::P384(EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_ASN1_SIGNING).unwrap())
    }

    pub(crate) fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub(crate) fn spec(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "ECC_NIST_EDWARDS25519",
            Self::P256(_) => "ECC_NIST_P256",
            Self::P384(_) => "ECC_NIST_P384",
            Self::Rsa(_) => "RSA_2048",
        }
    }

    pub(crate) fn spki(&self) -> Vec<u8> {
        use aws_lc_rs::encoding::AsDer as _;
        match self {
            Self::Ed25519(key) => Jwk::ed25519(key.public_key().as_ref().try_into().unwrap()).to_spki(),
            Self::P256(key) | Self::P384(key) => key.public_key().as_der().unwrap().as_ref().to_vec(),
            Self::Rsa(key) => key.public_key().as_der().unwrap().as_ref().to_vec(),
        }
    }

    /// What KMS answers, well.
    pub(crate) fn answer(&self, request: &Request) -> Reply {
        match &*request.action {
            "GetCallerIdentity" => caller(),
            "GetPublicKey" => self.published(self.spec(), "SIGN_VERIFY", KEY_ARN),
            "Sign" => self.signed(&request.body),
            other => panic!("{other}"),
        }
    }

    pub(crate) fn published(&self, spec: &str, usage: &str, arn: &str) -> Reply {
        let public = STANDARD.encode_to_string(self.spki());
        Reply::Json(200, json!({"KeyId": arn, "KeySpec": spec, "KeyUsage": usage, "PublicKey": public}))
    }

    fn signed(&self, body: &Value) -> Reply {
        assert_eq!(body["KeyId"], KEY_ARN, "the key that was resolved signs, not the alias");
        let message = STANDARD.decode_to_vec(body["Message"].as_str().unwrap()).unwrap();
        let (kind, algorithm) = (&body["MessageType"], body["SigningAlgorithm"].as_str().unwrap());
        let signature = match (self, algorithm) {
            (Self::Ed25519(key), "ED25519_SHA_512") => {
                assert_eq!(kind, "RAW");
                assert!(message.len() <= 4_096);
                key.sign(&message).as_ref().to_vec()
            }
            (Self::P256(key), "ECDSA_SHA_256") => {
                let digest = Digest::import_less_safe(&message, &SHA256).unwrap();
                key.sign_digest(&digest).unwrap().as_ref().to_vec()
            }
            (Self::P384(key), "ECDSA_SHA_384") => {
                let digest = Digest::import_less_safe(&message, &SHA384).unwrap();
                key.sign_digest(&digest).unwrap().as_ref().to_vec()
            }
            (Self::Rsa(key), "RSASSA_PKCS1_V1_5_SHA_256" | "RSASSA_PSS_SHA_256") => {
                let digest = Digest::import_less_safe(&message, &SHA256).unwrap();
                let mut signature = vec![0; key.public_modulus_len()];
                let padding: &'static dyn signature::RsaEncoding = match algorithm {
                    "RSASSA_PSS_SHA_256" => &signature::RSA_PSS_SHA256,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                key.sign_digest(padding, &digest, &mut signature).unwrap();
                signature
            }
            _ => panic!("{algorithm} with {}", self.spec()),
        };
        if !matches!(self, Self::Ed25519(_)) {
            assert_eq!(kind, "DIGEST");
        }
        signature_is(&signature)
    }
}

pub(crate) fn signature_is(signature: &[u8]) -> Reply {
    Reply::Json(200, json!({"KeyId": KEY_ARN, "Signature": STANDARD.encode_to_string(signature)}))
}
