//! The public key of a certificate. RFC 5280 §4.1.

use std::fmt;

use crate::der::{BIT_STRING, DerError, INTEGER, SEQUENCE, Value};

/// The SubjectPublicKeyInfo of a DER certificate, tag and length included.
///
/// # Errors
/// When the bytes are no certificate in DER.
pub(crate) fn subject_public_key_info(certificate: &[u8]) -> Result<&[u8], CertificateError> {
    let whole = Value::read(certificate)?;
    if !whole.rest.is_empty() {
        return Err(CertificateError::Trailing);
    }
    // Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue }
    let tbs = Value::read(inside(&whole, SEQUENCE, "a certificate")?)?;
    let algorithm = Value::read(tbs.rest)?;
    inside(&algorithm, SEQUENCE, "a signature algorithm")?;
    let signature = Value::read(algorithm.rest)?;
    inside(&signature, BIT_STRING, "a signature")?;
    if !signature.rest.is_empty() {
        return Err(CertificateError::Trailing);
    }
    // TBSCertificate ::= SEQUENCE { [0] version DEFAULT v1, serialNumber, signature, issuer, validity, subject,
    // subjectPublicKeyInfo, … }
    let mut field = Value::read(inside(&tbs, SEQUENCE, "a certificate body")?)?;
    if field.tag == VERSION {
        field = Value::read(field.rest)?;
    }
    inside(&field, INTEGER, "a serial number")?;
    for what in ["a signature algorithm", "an issuer", "a validity", "a subject", "a public key"] {
        field = Value::read(field.rest)?;
        inside(&field, SEQUENCE, what)?;
    }
    Ok(field.whole)
}

const VERSION: u8 = 0xa0;

/// The content of a value that must have that tag.
fn inside<'a>(value: &Value<'a>, tag: u8, what: &'static str) -> Result<&'a [u8], CertificateError> {
    value.inside(tag).ok_or(CertificateError::Expected { what })
}

/// Why a certificate cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateError {
    /// It ends too early.
    Truncated,
    /// Something follows where nothing should.
    Trailing,
    /// A tag that no certificate has.
    Tag,
    /// A length that DER does not allow.
    Length,
    /// Another value than the structure has there.
    Expected {
        /// What belongs there.
        what: &'static str,
    },
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("it ends too early"),
            Self::Trailing => f.write_str("bytes follow its end"),
            Self::Tag => f.write_str("a tag that no certificate has"),
            Self::Length => f.write_str("a length that DER does not allow"),
            Self::Expected { what } => write!(f, "something else stands where {what} belongs"),
        }
    }
}

impl std::error::Error for CertificateError {}

impl From<DerError> for CertificateError {
    fn from(error: DerError) -> Self {
        match error {
            DerError::Truncated => Self::Truncated,
            DerError::Tag => Self::Tag,
            DerError::Length => Self::Length,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Jwk, KeyError};

    fn leaf_and_anchor() -> (Vec<u8>, Jwk) {
        let read = |file: &str| {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/python");
            let json = std::fs::read_to_string(folder.join(file)).unwrap();
            serde_json::from_str::<serde_json::Value>(&json).unwrap()
        };
        let passport = read("spire_rsa.passport.json");
        let header = passport[0].as_str().unwrap().split('.').next().unwrap();
        let header = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(header).unwrap();
        let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
        let leaf = base64_simd::STANDARD.decode_to_vec(header["x5c"][0].as_str().unwrap()).unwrap();
        let anchors = read("spire_rsa.anchors.json");
        let jwk = Jwk::from_json(&anchors["spiffe://example.org/spire_rsa"]["keys"][0]).unwrap();
        (leaf, jwk)
    }

    #[test]
    fn finds_the_key_of_a_real_certificate() {
        let (leaf, jwk) = leaf_and_anchor();
        assert_eq!(subject_public_key_info(&leaf), Ok(&*jwk.to_spki()));
        assert_eq!(Jwk::from_certificate(&leaf).unwrap().thumbprint(), jwk.thumbprint());
    }

    #[test]
    fn refuses_what_is_cut_or_continued() {
        let (leaf, _) = leaf_and_anchor();
        for end in 0..leaf.len() {
            assert!(subject_public_key_info(&leaf[..end]).is_err(), "{end}");
            assert!(matches!(Jwk::from_certificate(&leaf[..end]), Err(KeyError::Certificate(_))), "{end}");
        }
        let longer = [&leaf[..], &[0]].concat();
        assert_eq!(subject_public_key_info(&longer), Err(CertificateError::Trailing));
    }

    #[test]
    fn refuses_lengths_that_are_not_der() {
        // Indefinite, too long a form, and more octets than any certificate needs.
        for head in
            [&[0x30, 0x80][..], &[0x30, 0x81, 0x05], &[0x30, 0x82, 0, 0x85], &[0x30, 0x84, 0, 0, 0, 5]]
        {
            let bytes = [head, &[0; 200]].concat();
            assert_eq!(subject_public_key_info(&bytes), Err(CertificateError::Length));
        }
        assert_eq!(subject_public_key_info(&[0x3f, 0x81, 0]), Err(CertificateError::Tag));
    }
}
