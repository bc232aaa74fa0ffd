//! Ed25519, RFC 8032 §5.1.7: the checks that all back ends share, and the back ends.
//!
//! The equation is the one without cofactor, on one signature at a time. RFC 8032 leaves open what becomes of points
//! that are not in their canonical form or of small order; here they are refused before a back end sees them.

#[cfg(feature = "aws-lc")]
mod aws_lc;
#[cfg(any(test, not(feature = "aws-lc")))]
mod dalek;
mod multiples;
mod often;
mod tables;

use ed25519_dalek::VerifyingKey;

#[cfg(feature = "aws-lc")]
use self::aws_lc::AwsLc as Library;
#[cfg(not(feature = "aws-lc"))]
use self::dalek::Dalek as Library;
use self::often::Often;
use crate::keys::KeyError;

/// What keys are checked with: the library of the build, and tables for those that sign often.
pub(super) type Default = Often<Library>;

/// What computes.
pub(super) trait BackEnd: Sized {
    /// A key that is a point in its canonical form.
    fn new(point: VerifyingKey) -> Option<Self>;

    /// Whether S < L and [S]B = R + [k]A; R is canonical and not of small order.
    fn verify(&self, input: &[u8], signature: &[u8; 64]) -> bool;
}

/// A public key.
#[derive(Clone, Debug)]
pub(super) struct Ed25519<B> {
    back_end: B,
    /// Of small order: would verify one signature for many messages.
    weak: bool,
}

impl<B: BackEnd> Ed25519<B> {
    pub(super) fn new(public: &[u8; 32]) -> Result<Self, KeyError> {
        let malformed = |why| KeyError::Malformed { member: "x", why };
        if !is_canonical(public) {
            return Err(malformed("is not the canonical form of its point"));
        }
        let no_point = || malformed("is not a point of the curve");
        let point = VerifyingKey::from_bytes(public).map_err(|_| no_point())?;
        let back_end = B::new(point).ok_or_else(no_point)?;
        Ok(Self { back_end, weak: point.is_weak() })
    }

    pub(super) fn verify(&self, input: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = <&[u8; 64]>::try_from(signature) else { return false };
        let Some(commitment) = signature.first_chunk::<32>() else { return false };
        !self.weak
            && is_canonical(commitment)
            && !is_small_order(commitment)
            && self.back_end.verify(input, signature)
    }
}

/// RFC 8032 §5.1.3: a coordinate of p = 2^255 − 19 or more is not how a point is written.
pub(crate) fn is_canonical(point: &[u8; 32]) -> bool {
    let [lowest, middle @ .., highest] = point;
    *lowest < 0xed || highest & 0x7f != 0x7f || middle.iter().any(|byte| *byte != 0xff)
}

/// Whether the canonical point is one of the eight whose order divides the cofactor. RFC 7748 §7 names the order.
fn is_small_order(point: &[u8; 32]) -> bool {
    let mut y = *point;
    let [.., highest] = &mut y;
    *highest &= 0x7f;
    SMALL_ORDER.contains(&y)
}

/// The y coordinates of the points of order 1, 2, 4 and 8; each but the first two has two points.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
    ],
    [0; 32],
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

#[cfg(test)]
mod tests;
