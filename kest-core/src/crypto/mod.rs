//! Checking signatures with a key that was read once.
//!
//! Ed25519 has back ends behind one set of checks, which accept and refuse the same. ECDSA and RSA are aws-lc-rs's,
//! with the feature `aws-lc`.

mod ed25519;

#[cfg(feature = "aws-lc")]
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256,
};

pub(crate) use self::ed25519::is_canonical;
use self::ed25519::{Default, Ed25519};
use crate::jws::Algorithm;
#[cfg(feature = "aws-lc")]
use crate::keys::Curve;
use crate::keys::{KeyError, Material, SignatureError};

/// A public key, ready to check signatures.
#[derive(Clone, Debug)]
pub(crate) struct PublicKey(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Ed25519(Ed25519<Default>),
    #[cfg(feature = "aws-lc")]
    P256(ParsedPublicKey),
    #[cfg(feature = "aws-lc")]
    P384(ParsedPublicKey),
    #[cfg(feature = "aws-lc")]
    Rsa {
        pkcs1: ParsedPublicKey,
        pss: ParsedPublicKey,
    },
    #[cfg(not(feature = "aws-lc"))]
    Other,
}

impl PublicKey {
    /// # Errors
    /// When the key is no point of its curve, or no RSA key that can be used.
    #[cfg(feature = "aws-lc")]
    pub(crate) fn new(material: &Material) -> Result<Self, KeyError> {
        let off_curve =
            |_| KeyError::Malformed { member: "x", why: "and `y` are no point of the key's curve" };
        let unusable = |_| KeyError::Malformed { member: "n", why: "and `e` are no usable RSA key" };
        let kind = match material {
            Material::Ed25519(public) => Kind::Ed25519(Ed25519::new(public)?),
            // RFC 7518 §3.4: r and s in their full length, one after the other; never DER.
            Material::Ec { curve: Curve::P256, .. } => Kind::P256(
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, material.spki()).map_err(off_curve)?,
            ),
            Material::Ec { curve: Curve::P384, .. } => Kind::P384(
                ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, material.spki()).map_err(off_curve)?,
            ),
            Material::Rsa { .. } => {
                let spki = material.spki();
                Kind::Rsa {
                    pkcs1: ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &spki).map_err(unusable)?,
                    // RFC 7518 §3.5: a salt as long as the hash.
                    pss: ParsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, &spki).map_err(unusable)?,
                }
            }
        };
        Ok(Self(kind))
    }

    /// # Errors
    /// When the key is no point of its curve.
    #[cfg(not(feature = "aws-lc"))]
    pub(crate) fn new(material: &Material) -> Result<Self, KeyError> {
        Ok(Self(match material {
            Material::Ed25519(public) => Kind::Ed25519(Ed25519::new(public)?),
            Material::Ec { .. } | Material::Rsa { .. } => Kind::Other,
        }))
    }

    pub(crate) fn verify(
        &self,
        alg: Algorithm,
        input: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        match (&self.0, alg) {
            (Kind::Ed25519(key), Algorithm::EdDsa) => {
                if key.verify(input, signature) {
                    Ok(())
                } else {
                    Err(SignatureError::Wrong)
                }
            }
            #[cfg(feature = "aws-lc")]
            (Kind::P256(key), Algorithm::Es256)
            | (Kind::P384(key), Algorithm::Es384)
            | (Kind::Rsa { pkcs1: key, .. }, Algorithm::Rs256)
            | (Kind::Rsa { pss: key, .. }, Algorithm::Ps256) => {
                key.verify_sig(input, signature).map_err(|_| SignatureError::Wrong)
            }
            #[cfg(not(feature = "aws-lc"))]
            (Kind::Other, Algorithm::Es256 | Algorithm::Es384 | Algorithm::Rs256 | Algorithm::Ps256) => {
                Err(SignatureError::Unsupported { alg })
            }
            (_, _) => Err(SignatureError::Mismatch { alg }),
        }
    }
}
