//! Public keys: JWK (RFC 7517), thumbprints (RFC 7638), Ed25519 (RFC 8037). Spec §3, §10.

mod error;

use std::sync::LazyLock;

use base64_simd::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::VerifyingKey;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

pub use self::error::KeyError;
use crate::jws::{Algorithm, sha256};

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwk {
    material: Material,
    /// What the key may be used with, when it says so. RFC 7517 §4.4.
    alg: Option<Algorithm>,
    kid: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    Ed25519([u8; 32]),
    Ec { curve: Curve, x: Vec<u8>, y: Vec<u8> },
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
}

impl Jwk {
    /// An Ed25519 key. RFC 8037 §2.
    #[must_use]
    pub fn ed25519(public: &[u8; 32]) -> Self {
        Self { material: Material::Ed25519(*public), alg: Some(Algorithm::EdDsa), kid: None }
    }

    /// Reads a JWK. Members that RFC 7517 does not name are ignored, as its §4 asks.
    ///
    /// # Errors
    /// When the key is private or symmetric, of another type or curve, malformed, too short, or meant for something
    /// else than signatures; when an Ed25519 key is no point, not in its canonical form, or weak. Of EC keys only the
    /// lengths are looked at, of RSA keys the size and the exponent.
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
        Ok(Self { material, alg, kid })
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
        self.alg.or(match &self.material {
            Material::Ed25519(_) => Some(Algorithm::EdDsa),
            Material::Ec { curve: Curve::P256, .. } => Some(Algorithm::Es256),
            Material::Ec { curve: Curve::P384, .. } => Some(Algorithm::Es384),
            Material::Rsa { .. } => None,
        })
    }

    /// Whether a signature of that algorithm may be checked with this key. RFC 8725 §3.1: the key decides.
    #[must_use]
    pub fn accepts(&self, alg: Algorithm) -> bool {
        self.material.fits(alg) && self.alg.is_none_or(|own| own == alg)
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

impl Material {
    fn fits(&self, alg: Algorithm) -> bool {
        match self {
            Self::Ed25519(_) => alg == Algorithm::EdDsa,
            Self::Ec { curve: Curve::P256, .. } => alg == Algorithm::Es256,
            Self::Ec { curve: Curve::P384, .. } => alg == Algorithm::Es384,
            Self::Rsa { .. } => matches!(alg, Algorithm::Rs256 | Algorithm::Ps256),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "Ed25519",
            Self::Ec { curve: Curve::P256, .. } => "P-256",
            Self::Ec { curve: Curve::P384, .. } => "P-384",
            Self::Rsa { .. } => "RSA",
        }
    }

    /// The required members, sorted by name. RFC 7638 §3.2, RFC 8037 §2.
    fn members(&self) -> Vec<(&'static str, String)> {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode_to_string(bytes);
        match self {
            Self::Ed25519(x) => {
                vec![("crv", "Ed25519".to_owned()), ("kty", "OKP".to_owned()), ("x", b64(x))]
            }
            Self::Ec { x, y, .. } => {
                vec![("crv", self.kind().to_owned()), ("kty", "EC".to_owned()), ("x", b64(x)), ("y", b64(y))]
            }
            Self::Rsa { n, e } => vec![("e", b64(e)), ("kty", "RSA".to_owned()), ("n", b64(n))],
        }
    }

    fn spki(&self) -> Vec<u8> {
        // RFC 8410 §3, RFC 5480 §2.1.1 and RFC 3279 §2.3.1: object identifiers with their parameters.
        const ED25519: &[u8] = &[0x06, 3, 0x2b, 0x65, 0x70];
        const EC_P256: &[u8] =
            &[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
        const EC_P384: &[u8] =
            &[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 0x06, 5, 0x2b, 0x81, 0x04, 0, 0x22];
        const RSA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 0x05, 0];
        let (algorithm, key) = match self {
            Self::Ed25519(x) => (ED25519, x.to_vec()),
            Self::Ec { curve, x, y } => {
                // SEC 1 §2.3.3: an uncompressed point.
                let point = [&[4][..], x, y].concat();
                (if *curve == Curve::P256 { EC_P256 } else { EC_P384 }, point)
            }
            Self::Rsa { n, e } => (RSA, der(0x30, &[der_unsigned(n), der_unsigned(e)].concat())),
        };
        let bits = [&[0][..], &key].concat();
        der(0x30, &[der(0x30, algorithm), der(0x03, &bits)].concat())
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
        "Ed25519" => {}
        other => return Err(KeyError::Unsupported { what: "crv", found: other.to_owned() }),
    }
    let malformed = |why| KeyError::Malformed { member: "x", why };
    let x: [u8; 32] = bytes(members, "x")?.try_into().map_err(|_| malformed("is not 32 bytes long"))?;
    if !is_canonical_point(&x) {
        return Err(malformed("is not the canonical form of its point"));
    }
    let key = VerifyingKey::from_bytes(&x).map_err(|_| malformed("is not a point of the curve"))?;
    // A key of small order would verify one signature for many messages.
    if key.is_weak() { Err(malformed("is a weak key")) } else { Ok(Material::Ed25519(x)) }
}

/// RFC 8032 §5.1.3: a coordinate of p = 2^255 − 19 or more is not how a point is written.
pub(crate) fn is_canonical_point(encoded: &[u8; 32]) -> bool {
    let [lowest, middle @ .., highest] = encoded;
    *lowest < 0xed || highest & 0x7f != 0x7f || middle.iter().any(|byte| *byte != 0xff)
}

fn ec_material(members: &Map<String, Value>) -> Result<Material, KeyError> {
    let (curve, size) = match required(members, "crv")? {
        "P-256" => (Curve::P256, 32),
        "P-384" => (Curve::P384, 48),
        other => return Err(KeyError::Unsupported { what: "crv", found: other.to_owned() }),
    };
    // RFC 7518 §6.2.1.2: the full size of a coordinate, leading zeros included.
    let coordinate = |name| match bytes(members, name)? {
        value if value.len() == size => Ok(value),
        _ => Err(KeyError::Malformed { member: name, why: "has not the length of its curve's coordinates" }),
    };
    Ok(Material::Ec { curve, x: coordinate("x")?, y: coordinate("y")? })
}

fn rsa_material(members: &Map<String, Value>) -> Result<Material, KeyError> {
    // RFC 7518 §6.3.1.1: as few octets as the number needs.
    let number = |name| match bytes(members, name)? {
        value if value.first().is_some_and(|first| *first != 0) => Ok(value),
        _ => Err(KeyError::Malformed { member: name, why: "is empty or starts with a zero" }),
    };
    let (n, e) = (number("n")?, number("e")?);
    // Spec §3: 2048 bits at least. 8192 at most keeps one check from costing a denial of service.
    let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
    if !(2048..=8192).contains(&bits) {
        return Err(KeyError::Malformed { member: "n", why: "is outside 2048 to 8192 bits" });
    }
    if e.len() > 4 || e.last().is_none_or(|last| last % 2 == 0) || e == [1] {
        return Err(KeyError::Malformed { member: "e", why: "is no usable exponent" });
    }
    Ok(Material::Rsa { n, e })
}

/// One DER value, X.690 §8.1 and §10.1.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len().to_be_bytes();
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => out.push(short),
        Ok(_) | Err(_) => {
            let significant: Vec<u8> = length.iter().copied().skip_while(|byte| *byte == 0).collect();
            // At most 8 octets.
            out.push(0x80 | significant.len() as u8);
            out.extend(significant);
        }
    }
    out.extend_from_slice(content);
    out
}

/// A positive DER INTEGER, X.690 §8.3.
fn der_unsigned(number: &[u8]) -> Vec<u8> {
    let sign: &[u8] = if number.first().is_some_and(|first| *first >= 0x80) { &[0] } else { &[] };
    der(0x02, &[sign, number].concat())
}
