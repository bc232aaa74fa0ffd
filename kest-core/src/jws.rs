//! The signed form of an entry: a compact JWS. RFC 7515 §7.1, spec §3.

use std::fmt;
use std::str::FromStr;

use base64_simd::{STANDARD, URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::canonical::write_str;
use crate::text::Quoted;

/// A compact JWS: `b64(header).b64(payload).b64(signature)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Jws(String);

impl Jws {
    /// The whole compact string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The whole compact string.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }

    /// The second segment: the payload in base64url.
    #[must_use]
    pub fn payload_segment(&self) -> &str {
        self.0.split('.').nth(1).unwrap_or_default()
    }

    /// Whether the second segment is `payload`.
    pub(crate) fn carries(&self, payload: &[u8]) -> bool {
        let text = self.0.as_bytes();
        let Some(dot) = text.iter().position(|byte| *byte == b'.') else { return false };
        let segment = text.get(dot + 1..).unwrap_or_default();
        let encoded = URL_SAFE_NO_PAD.encode_to_string(payload);
        segment.strip_prefix(encoded.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'.'))
    }

    /// SHA-256 of the whole compact string: what a child names in `parent_ids`. Spec §2.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        sha256(self.0.as_bytes())
    }

    /// [`Self::hash`] in lowercase hex.
    #[must_use]
    pub fn hash_hex(&self) -> String {
        hex(&self.hash())
    }
}

impl AsRef<str> for Jws {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<Jws> for Box<str> {
    fn from(jws: Jws) -> Self {
        jws.0.into_boxed_str()
    }
}

impl fmt::Display for Jws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The signature algorithms of spec §3, by their names in RFC 7518 §3.1 and RFC 8037 §3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA on P-256 with SHA-256, signature as raw r‖s.
    Es256,
    /// ECDSA on P-384 with SHA-384, signature as raw r‖s.
    Es384,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// HMAC with SHA-256: the mock provider's, with a key that everybody knows.
    Hs256,
}

impl Algorithm {
    /// The name in a header's `alg`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Hs256 => "HS256",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "EdDSA" => Ok(Self::EdDsa),
            "ES256" => Ok(Self::Es256),
            "ES384" => Ok(Self::Es384),
            "RS256" => Ok(Self::Rs256),
            "PS256" => Ok(Self::Ps256),
            "HS256" => Ok(Self::Hs256),
            other => Err(UnknownAlgorithm(other.to_owned())),
        }
    }
}

/// An `alg` that is none of [`Algorithm`]'s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownAlgorithm(String);

impl UnknownAlgorithm {
    /// The name that is not known.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UnknownAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown signature algorithm {}; use `EdDSA`, `ES256`, `ES384`, `RS256` or `PS256`",
            Quoted(&self.0)
        )
    }
}

impl std::error::Error for UnknownAlgorithm {}

/// A protected header of exactly `alg`, `kid` and `typ` (and `x5c`), in canonical form and encoded once per key.
#[derive(Clone, Debug)]
pub struct EncodedHeader {
    /// The segment and the dot after it.
    prefix: String,
}

impl EncodedHeader {
    /// The header of a key; `kid` is its thumbprint, RFC 7638.
    #[must_use]
    pub fn new(alg: Algorithm, kid: &str) -> Self {
        Self::encode(alg, kid, &[])
    }

    /// The header of a key that a certificate speaks for: DER, leaf first. RFC 7515 §4.1.6.
    #[must_use]
    pub fn with_x5c(alg: Algorithm, kid: &str, chain: &[Vec<u8>]) -> Self {
        Self::encode(alg, kid, chain)
    }

    /// What is signed, RFC 7515 §5.1 step 8: `b64(header).b64(payload)`.
    #[must_use]
    pub fn signing_input(&self, payload: &[u8]) -> String {
        // Room for a signature of 64 bytes too, so that an EdDSA or ES256 entry is allocated once.
        let room = self.prefix.len() + URL_SAFE_NO_PAD.encoded_length(payload.len()) + 1 + 86;
        let mut input = String::with_capacity(room);
        input.push_str(&self.prefix);
        URL_SAFE_NO_PAD.encode_append(payload, &mut input);
        input
    }

    /// Signs `payload`: `sign` gets the bytes of the signing input and gives the raw signature.
    ///
    /// # Errors
    /// What `sign` fails with.
    pub fn sign<S: AsRef<[u8]>, E>(
        &self,
        payload: &[u8],
        sign: impl FnOnce(&[u8]) -> Result<S, E>,
    ) -> Result<Jws, E> {
        let input = self.signing_input(payload);
        let signature = sign(input.as_bytes())?;
        Ok(Self::assemble(input, signature.as_ref()))
    }

    /// Joins a signing input and its signature, for signers that answer later.
    #[must_use]
    pub fn assemble(signing_input: String, signature: &[u8]) -> Jws {
        let mut jws = signing_input;
        jws.push('.');
        URL_SAFE_NO_PAD.encode_append(signature, &mut jws);
        Jws(jws)
    }

    fn encode(alg: Algorithm, kid: &str, chain: &[Vec<u8>]) -> Self {
        // RFC 8785 §3.2.3: `alg`, `kid`, `typ`, `x5c` is the canonical order.
        let mut json = Vec::with_capacity(96);
        json.extend_from_slice(b"{\"alg\":\"");
        json.extend_from_slice(alg.as_str().as_bytes());
        json.extend_from_slice(b"\",\"kid\":");
        write_str(&mut json, kid);
        json.extend_from_slice(b",\"typ\":\"JWS\"");
        if !chain.is_empty() {
            json.extend_from_slice(b",\"x5c\":[");
            for (index, certificate) in chain.iter().enumerate() {
                if index > 0 {
                    json.push(b',');
                }
                // RFC 7515 §4.1.6: standard base64, with padding, unlike everything else in a JWS.
                write_str(&mut json, &STANDARD.encode_to_string(certificate));
            }
            json.push(b']');
        }
        json.push(b'}');
        let mut prefix = URL_SAFE_NO_PAD.encode_to_string(&json);
        prefix.push('.');
        Self { prefix }
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Lowercase hex.
pub(crate) fn hex<const N: usize>(bytes: &[u8; N]) -> String {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble };
    let mut text = vec![0; N * 2];
    for (pair, byte) in text.as_chunks_mut().0.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
    // Only digits and letters, so there is no error to lose.
    String::from_utf8(text).unwrap_or_default()
}

/// 32 bytes from 64 lowercase hex digits; anything else is none.
pub(crate) fn unhex(text: &str) -> Option<[u8; 32]> {
    let nibble = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let mut bytes = [0; 32];
    if pairs.len() != bytes.len() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_canonical() {
        let header = EncodedHeader::new(Algorithm::EdDsa, "a\"b\u{1}é");
        let json = URL_SAFE_NO_PAD.decode_to_vec(header.prefix.trim_end_matches('.')).unwrap();
        assert_eq!(
            String::from_utf8(json).unwrap(),
            "{\"alg\":\"EdDSA\",\"kid\":\"a\\\"b\\u0001é\",\"typ\":\"JWS\"}"
        );
    }

    #[test]
    fn a_chain_is_in_standard_base64() {
        let header = EncodedHeader::with_x5c(Algorithm::Es256, "k", &[vec![0xfb, 0xff], vec![1]]);
        let json = URL_SAFE_NO_PAD.decode_to_vec(header.prefix.trim_end_matches('.')).unwrap();
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"{"alg":"ES256","kid":"k","typ":"JWS","x5c":["+/8=","AQ=="]}"#
        );
    }

    #[test]
    fn signing_joins_three_segments() {
        let header = EncodedHeader::new(Algorithm::EdDsa, "k");
        let jws =
            header.sign(b"{}", |input| Ok::<_, ()>(input.iter().rev().copied().collect::<Vec<_>>())).unwrap();
        let segments: Vec<&str> = jws.as_str().split('.').collect();
        assert_eq!(segments.len(), 3);
        assert_eq!(jws.payload_segment(), "e30");
        let input = format!("{}.{}", segments[0], segments[1]);
        assert_eq!(input, header.signing_input(b"{}"));
        let signature = URL_SAFE_NO_PAD.decode_to_vec(segments[2]).unwrap();
        assert_eq!(signature, input.bytes().rev().collect::<Vec<_>>());
        assert_eq!(header.sign(b"{}", |_| Err::<[u8; 64], _>("no key")), Err("no key"));
    }

    #[test]
    fn hashes_are_lowercase_hex() {
        let bytes = sha256(b"abc");
        let text = hex(&bytes);
        assert_eq!(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(unhex(&text), Some(bytes));
        assert_eq!(unhex(&text.to_uppercase()), None);
        assert_eq!(unhex(&text[..62]), None);
        assert_eq!(unhex(&format!("{text}0")), None);
        assert_eq!(unhex(&format!("{text}00")), None);
    }

    #[test]
    fn algorithms_go_by_their_registered_names() {
        for name in ["EdDSA", "ES256", "ES384", "RS256", "PS256", "HS256"] {
            assert_eq!(name.parse::<Algorithm>().unwrap().as_str(), name);
        }
        for name in ["none", "mock", "eddsa", "", "ES512"] {
            assert_eq!(name.parse::<Algorithm>().unwrap_err().name(), name);
        }
    }
}
