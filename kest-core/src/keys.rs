//! Public keys: JWK (RFC 7517), thumbprints (RFC 7638), Ed25519 (RFC 8037). Spec §3, §10.

mod error;
mod material;

use std::fmt;
use std::sync::{Arc, LazyLock, OnceLock};

use base64_simd::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

pub use self::error::{KeyError, SignatureError};
pub(crate) use self::material::{Curve, Material};
use crate::crypto::PublicKey;
use crate::jws::{Algorithm, sha256};
use crate::verify::subject_public_key_info;

/// The mock provider's key. It is public: whoever accepts it accepts everybody.
pub const MOCK_KEY: &[u8] = b"kest-mock-key-not-a-secret-0.3.0";

/// Thumbprint of [`MOCK_KEY`] as an `oct` key, RFC 7638 §3.2.
#[must_use]
pub fn mock_kid() -> &'static str {
    static KID: LazyLock<String> = LazyLock::new(|| {
        let json = format!(r#"{{"k":"{}","kty":"oct"}}"#, URL_SAFE_NO_PAD.encode_to_string(MOCK_KEY));
        URL_SAFE_NO_PAD.encode_to_string(sha256(json.as_bytes()))
    });
    &KID
}

/// HMAC-SHA256, RFC 2104 §2.
#[must_use]
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0_u8; 64];
    let hashed;
    let key = if key.len() > block.len() {
        hashed = sha256(key);
        &hashed
    } else {
        key
    };
    for (slot, byte) in block.iter_mut().zip(key) {
        *slot = *byte;
    }
    let inner = Sha256::new().chain_update(block.map(|b| b ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(block.map(|b| b ^ 0x5c)).chain_update(inner).finalize().into()
}

/// A public key. Private and symmetric keys are refused, so that none is ever published by mistake.
#[derive(Clone)]
pub struct Jwk {
    material: Material,
    /// What the key may be used with, when it says so. RFC 7517 §4.4.
    alg: Option<Algorithm>,
    kid: Option<String>,
    /// Shared by clones, so that it is worked out once however often a source of keys gives the key.
    known: Arc<Known>,
}

/// What follows from a key.
#[derive(Default)]
struct Known {
    prepared: OnceLock<PublicKey>,
    spki_hash: OnceLock<[u8; 32]>,
}

impl Jwk {
    /// An Ed25519 key. RFC 8037 §2.
    #[must_use]
    pub fn ed25519(public: &[u8; 32]) -> Self {
        Self::new(Material::Ed25519(*public), Some(Algorithm::EdDsa), None)
    }

    fn new(material: Material, alg: Option<Algorithm>, kid: Option<String>) -> Self {
        Self { material, alg, kid, known: Arc::default() }
    }

    /// Reads a JWK. Members that RFC 7517 does not name are ignored, as its §4 asks.
    ///
    /// # Errors
    /// When the key is private or symmetric, of another type or curve, malformed, too short, or meant for something
    /// else than signatures; when an Ed25519 key is no point, not in its canonical form, or weak. Whether an EC key is
    /// a point of its curve is looked at with the feature `aws-lc` only: without it no such key is ever used.
    pub fn from_json(jwk: &Value) -> Result<Self, KeyError> {
        let members = jwk.as_object().ok_or(KeyError::NotAnObject { what: "a JWK" })?;
        // RFC 7518 §6.2.2, §6.3.2 and §6.4.1: private and symmetric members.
        for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
            if members.contains_key(private) {
                return Err(KeyError::Private { member: private });
            }
        }
        let kty = required(members, "kty")?;
        let material = match kty {
            "OKP" => ed25519_material(members)?,
            "EC" => ec_material(members)?,
            "RSA" => rsa_material(members)?,
            other => return Err(KeyError::Unsupported { what: "kty", found: other.to_owned() }),
        };
        let alg = match optional(members, "alg")? {
            None => None,
            Some(name) => Some(
                name.parse::<Algorithm>()
                    .map_err(|_| KeyError::Unsupported { what: "alg", found: name.to_owned() })?,
            ),
        };
        if let Some(alg) = alg.filter(|alg| !material.fits(*alg)) {
            return Err(KeyError::Mismatch { alg, kty: material.kind() });
        }
        if let Some(purpose) = optional(members, "use")?.filter(|purpose| *purpose != "sig") {
            return Err(KeyError::Purpose { found: purpose.to_owned() });
        }
        match members.get("key_ops") {
            None => {}
            // RFC 7517 §4.3.
            Some(Value::Array(ops)) if ops.iter().any(|op| op == "verify") => {}
            Some(other) => return Err(KeyError::Purpose { found: other.to_string() }),
        }
        let kid = optional(members, "kid")?.map(str::to_owned);
        let key = Self::new(material, alg, kid);
        key.prepare()?;
        Ok(key)
    }

    /// The key of a DER certificate, RFC 5280 §4.1. Nothing else in it is looked at: who issued it, for whom, until
    /// when and for what are left open, so this alone proves nothing.
    ///
    /// # Errors
    /// When the bytes are no certificate, or [`Self::from_spki`] refuses its key.
    pub fn from_certificate(der: &[u8]) -> Result<Self, KeyError> {
        Self::from_spki(subject_public_key_info(der).map_err(KeyError::Certificate)?)
    }

    /// Reads a DER SubjectPublicKeyInfo, RFC 5280 §4.1.2.7: what [`Self::to_spki`] writes, and no other form of it.
    ///
    /// # Errors
    /// When it is no such structure or has bytes after it; when the key is of another type or curve, a compressed
    /// point, outside the sizes that [`Self::from_json`] takes, or refused there for another reason.
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let material = Material::from_spki(der)?;
        let alg = material.only_algorithm();
        let key = Self::new(material, alg, None);
        key.prepare()?;
        Ok(key)
    }

    /// The key as a JWK: the public members, `alg` where the key has one, `kid` and `"use":"sig"`.
    /// `kid` is the thumbprint unless the key came with another.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut members = self.material.members();
        if let Some(alg) = self.alg {
            members.push(("alg", alg.as_str().to_owned()));
        }
        members.push(("kid", self.kid.clone().unwrap_or_else(|| self.thumbprint())));
        members.push(("use", "sig".to_owned()));
        Value::Object(
            members.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect(),
        )
    }

    /// The thumbprint: base64url of the SHA-256 of the key's required members. RFC 7638 §3.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        // RFC 7638 §3.3: in lexicographic order, without white space. No value needs an escape.
        let members = self.material.members();
        let mut json = String::with_capacity(160);
        for (name, value) in members {
            json.push(if json.is_empty() { '{' } else { ',' });
            for part in ["\"", name, "\":\"", &value, "\""] {
                json.push_str(part);
            }
        }
        json.push('}');
        URL_SAFE_NO_PAD.encode_to_string(sha256(json.as_bytes()))
    }

    /// The `kid` that the key came with.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The algorithm the key is for: what it says, else the only one its type allows.
    #[must_use]
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.alg.or_else(|| self.material.only_algorithm())
    }

    /// Whether a signature of that algorithm may be checked with this key. RFC 8725 §3.1: the key decides.
    #[must_use]
    pub fn accepts(&self, alg: Algorithm) -> bool {
        self.material.fits(alg) && self.alg.is_none_or(|own| own == alg)
    }

    /// Checks a signature of `signing_input`, RFC 7515 §5.2: strictly, and with the algorithm the key is for. An ECDSA
    /// signature is r and s in full length, RFC 7518 §3.4; a PSS salt is 32 bytes long, §3.5.
    ///
    /// Ed25519 is always there; ECDSA and RSA need the feature `aws-lc`.
    ///
    /// # Errors
    /// When the signature is wrong, the key is not for that algorithm or cannot be used, or this build cannot check it.
    pub fn verify(
        &self,
        alg: Algorithm,
        signing_input: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        if !self.accepts(alg) {
            return Err(SignatureError::Mismatch { alg });
        }
        self.prepare().map_err(SignatureError::Key)?.verify(alg, signing_input, signature)
    }

    /// The key ready to check signatures, made at most once.
    pub(crate) fn prepare(&self) -> Result<&PublicKey, KeyError> {
        if let Some(key) = self.known.prepared.get() {
            return Ok(key);
        }
        let key = PublicKey::new(&self.material)?;
        Ok(self.known.prepared.get_or_init(|| key))
    }

    /// SHA-256 of [`Self::to_spki`].
    pub(crate) fn spki_hash(&self) -> &[u8; 32] {
        self.known.spki_hash.get_or_init(|| sha256(&self.to_spki()))
    }

    /// The public key of an Ed25519 JWK.
    #[must_use]
    pub fn as_ed25519(&self) -> Option<&[u8; 32]> {
        match &self.material {
            Material::Ed25519(public) => Some(public),
            Material::Ec { .. } | Material::Rsa { .. } => None,
        }
    }

    /// The key as a DER SubjectPublicKeyInfo. RFC 5280 §4.1.2.7.
    #[must_use]
    pub fn to_spki(&self) -> Vec<u8> {
        self.material.spki()
    }

    /// The key as a PEM SubjectPublicKeyInfo. RFC 7468 §13.
    ///
    /// # Errors
    /// None today; a key type without an X.509 form would have no PEM.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let base64 = STANDARD.encode_to_string(self.to_spki());
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        let mut rest = base64.as_str();
        while let Some((line, tail)) = rest.split_at_checked(64) {
            pem.push_str(line);
            pem.push('\n');
            rest = tail;
        }
        if !rest.is_empty() {
            pem.push_str(rest);
            pem.push('\n');
        }
        pem.push_str("-----END PUBLIC KEY-----\n");
        Ok(pem)
    }
}

impl PartialEq for Jwk {
    fn eq(&self, other: &Self) -> bool {
        (&self.material, self.alg, &self.kid) == (&other.material, other.alg, &other.kid)
    }
}

impl Eq for Jwk {}

impl fmt::Debug for Jwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { material, alg, kid, known: _ } = self;
        f.debug_struct("Jwk").field("material", material).field("alg", alg).field("kid", kid).finish()
    }
}

/// A JWK set. RFC 7517 §5.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Jwks(
    /// The keys.
    pub Vec<Jwk>,
);

impl Jwks {
    /// Reads `{"keys":[…]}`. One unusable key makes the set unusable: nothing is skipped.
    ///
    /// # Errors
    /// When it is not such an object, or one of its keys cannot be read.
    pub fn from_json(jwks: &Value) -> Result<Self, KeyError> {
        let members = jwks.as_object().ok_or(KeyError::NotAnObject { what: "a JWK set" })?;
        let keys = members
            .get("keys")
            .ok_or(KeyError::Missing { member: "keys" })?
            .as_array()
            .ok_or(KeyError::Malformed { member: "keys", why: "is not a list" })?;
        keys.iter().map(Jwk::from_json).collect::<Result<_, _>>().map(Self)
    }

    /// The set as `{"keys":[…]}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let keys = self.0.iter().map(Jwk::to_json).collect();
        Value::Object(Map::from_iter([("keys".to_owned(), Value::Array(keys))]))
    }
}

fn optional<'a>(members: &'a Map<String, Value>, name: &'static str) -> Result<Option<&'a str>, KeyError> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(KeyError::Malformed { member: name, why: "is not a string" }),
    }
}

fn required<'a>(members: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, KeyError> {
    optional(members, name)?.ok_or(KeyError::Missing { member: name })
}

fn bytes(members: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, KeyError> {
    URL_SAFE_NO_PAD
        .decode_to_vec(required(members, name)?)
        .map_err(|_| KeyError::Malformed { member: name, why: "is not unpadded base64url" })
}

fn ed25519_material(members: &Map<String, Value>) -> Result<Material, KeyError> {
    match required(members, "crv")? {
        "Ed25519" => Material::ed25519(&bytes(members, "x")?),
        other => Err(KeyError::Unsupported { what: "crv", found: other.to_owned() }),
    }
}

fn ec_material(members: &Map<String, Value>) -> Result<Material, KeyError> {
    let curve = match required(members, "crv")? {
        "P-256" => Curve::P256,
        "P-384" => Curve::P384,
        other => return Err(KeyError::Unsupported { what: "crv", found: other.to_owned() }),
    };
    Material::ec(curve, bytes(members, "x")?, bytes(members, "y")?)
}

fn rsa_material(members: &Map<String, Value>) -> Result<Material, KeyError> {
    Material::rsa(bytes(members, "n")?, bytes(members, "e")?)
}
