//! What a public key consists of, as JWK members and as a SubjectPublicKeyInfo.

use base64_simd::URL_SAFE_NO_PAD;
use ed25519_dalek::VerifyingKey;

use super::KeyError;
use crate::crypto::is_canonical;
use crate::der::{BIT_STRING, DerError, SEQUENCE, Value, encode, encode_unsigned};
use crate::jws::Algorithm;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Material {
    Ed25519([u8; 32]),
    Ec { curve: Curve, x: Vec<u8>, y: Vec<u8> },
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    P384,
}

impl Material {
    pub(super) fn ed25519(x: &[u8]) -> Result<Self, KeyError> {
        let malformed = |why| KeyError::Malformed { member: "x", why };
        let x: [u8; 32] = x.try_into().map_err(|_| malformed("is not 32 bytes long"))?;
        if !is_canonical(&x) {
            return Err(malformed("is not the canonical form of its point"));
        }
        let key = VerifyingKey::from_bytes(&x).map_err(|_| malformed("is not a point of the curve"))?;
        // A key of small order would verify one signature for many messages.
        if key.is_weak() { Err(malformed("is a weak key")) } else { Ok(Self::Ed25519(x)) }
    }

    pub(super) fn ec(curve: Curve, x: Vec<u8>, y: Vec<u8>) -> Result<Self, KeyError> {
        // RFC 7518 §6.2.1.2: the full size of a coordinate, leading zeros included.
        for (member, coordinate) in [("x", &x), ("y", &y)] {
            if coordinate.len() != curve.size() {
                let why = "has not the length of its curve's coordinates";
                return Err(KeyError::Malformed { member, why });
            }
        }
        Ok(Self::Ec { curve, x, y })
    }

    pub(super) fn rsa(n: Vec<u8>, e: Vec<u8>) -> Result<Self, KeyError> {
        // RFC 7518 §6.3.1.1: as few octets as the number needs.
        for (member, number) in [("n", &n), ("e", &e)] {
            if number.first().is_none_or(|first| *first == 0) {
                return Err(KeyError::Malformed { member, why: "is empty or starts with a zero" });
            }
        }
        // Spec §3: 2048 bits at least. 8192 at most keeps one check from costing a denial of service.
        let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
        if !(2048..=8192).contains(&bits) {
            return Err(KeyError::Malformed { member: "n", why: "is outside 2048 to 8192 bits" });
        }
        let is_even = |number: &[u8]| number.last().is_none_or(|last| last % 2 == 0);
        if is_even(&n) {
            return Err(KeyError::Malformed { member: "n", why: "is even" });
        }
        if e.len() > 4 || is_even(&e) || e == [1] {
            return Err(KeyError::Malformed { member: "e", why: "is no usable exponent" });
        }
        Ok(Self::Rsa { n, e })
    }

    pub(super) fn fits(&self, alg: Algorithm) -> bool {
        match self {
            Self::Rsa { .. } => matches!(alg, Algorithm::Rs256 | Algorithm::Ps256),
            Self::Ed25519(_) | Self::Ec { .. } => self.only_algorithm() == Some(alg),
        }
    }

    pub(super) fn only_algorithm(&self) -> Option<Algorithm> {
        match self {
            Self::Ed25519(_) => Some(Algorithm::EdDsa),
            Self::Ec { curve: Curve::P256, .. } => Some(Algorithm::Es256),
            Self::Ec { curve: Curve::P384, .. } => Some(Algorithm::Es384),
            Self::Rsa { .. } => None,
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "Ed25519",
            Self::Ec { curve: Curve::P256, .. } => "P-256",
            Self::Ec { curve: Curve::P384, .. } => "P-384",
            Self::Rsa { .. } => "RSA",
        }
    }

    /// The required members, sorted by name. RFC 7638 §3.2, RFC 8037 §2.
    pub(super) fn members(&self) -> Vec<(&'static str, String)> {
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

    pub(crate) fn spki(&self) -> Vec<u8> {
        let (algorithm, key) = match self {
            Self::Ed25519(x) => (ED25519, x.to_vec()),
            // SEC 1 §2.3.3: an uncompressed point.
            Self::Ec { curve, x, y } => (curve.identifiers(), [&[4][..], x, y].concat()),
            Self::Rsa { n, e } => (RSA, encode(SEQUENCE, &[encode_unsigned(n), encode_unsigned(e)].concat())),
        };
        let bits = [&[0][..], &key].concat();
        encode(SEQUENCE, &[encode(SEQUENCE, algorithm), encode(BIT_STRING, &bits)].concat())
    }

    /// The only form that [`Self::spki`] writes.
    pub(super) fn from_spki(spki: &[u8]) -> Result<Self, KeyError> {
        let malformed = |why| KeyError::Spki { why };
        let whole = Value::read(spki)?;
        let algorithm = Value::read(whole.inside(SEQUENCE).ok_or(malformed("is no sequence"))?)?;
        let identifiers = algorithm.inside(SEQUENCE).ok_or(malformed("names no algorithm"))?;
        let bits = Value::read(algorithm.rest)?;
        if !whole.rest.is_empty() || !bits.rest.is_empty() {
            return Err(malformed("is followed by more"));
        }
        let key = match bits.inside(BIT_STRING) {
            // No bit of the last octet is unused.
            Some([0, key @ ..]) => key,
            Some(_) | None => return Err(malformed("holds no whole key")),
        };
        match identifiers {
            ED25519 => Self::ed25519(key),
            EC_P256 => Self::from_point(Curve::P256, key),
            EC_P384 => Self::from_point(Curve::P384, key),
            RSA => {
                let numbers = Value::read(key)?;
                let n = Value::read(numbers.inside(SEQUENCE).ok_or(malformed("holds no RSA key"))?)?;
                let e = Value::read(n.rest)?;
                if !numbers.rest.is_empty() || !e.rest.is_empty() {
                    return Err(malformed("holds more than an RSA key"));
                }
                match (n.unsigned(), e.unsigned()) {
                    (Some(n), Some(e)) => Self::rsa(n.to_vec(), e.to_vec()),
                    (_, _) => Err(malformed("holds no RSA key")),
                }
            }
            other => {
                let found = other.iter().take(32).map(|byte| format!("{byte:02x}")).collect();
                Err(KeyError::Unsupported { what: "algorithm identifier", found })
            }
        }
    }

    fn from_point(curve: Curve, point: &[u8]) -> Result<Self, KeyError> {
        match point {
            [4, coordinates @ ..] if coordinates.len() == 2 * curve.size() => {
                let (x, y) = coordinates.split_at(curve.size());
                Self::ec(curve, x.to_vec(), y.to_vec())
            }
            [2 | 3, ..] => Err(KeyError::Spki { why: "holds a compressed point; write it uncompressed" }),
            _ => Err(KeyError::Spki { why: "holds no point of its curve" }),
        }
    }
}

impl Curve {
    /// Bytes of a coordinate.
    fn size(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }

    fn identifiers(self) -> &'static [u8] {
        match self {
            Self::P256 => EC_P256,
            Self::P384 => EC_P384,
        }
    }
}

impl From<DerError> for KeyError {
    fn from(error: DerError) -> Self {
        let why = match error {
            DerError::Truncated => "ends too early",
            DerError::Tag => "has a tag that no key has",
            DerError::Length => "has a length that DER does not allow",
        };
        Self::Spki { why }
    }
}

// RFC 8410 §3, RFC 5480 §2.1.1 and RFC 3279 §2.3.1: object identifiers with their parameters.
const ED25519: &[u8] = &[0x06, 3, 0x2b, 0x65, 0x70];
const EC_P256: &[u8] =
    &[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const EC_P384: &[u8] = &[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 0x06, 5, 0x2b, 0x81, 0x04, 0, 0x22];
const RSA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 0x05, 0];
