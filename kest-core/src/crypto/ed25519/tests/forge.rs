//! Signatures that no honest signer makes.

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use sha2::{Digest, Sha512};

/// A key or a commitment: a multiple of the base point, and one of the eight points of small order added to it.
#[derive(Clone, Copy)]
pub(super) struct Point {
    pub(super) scalar: Scalar,
    pub(super) torsion: usize,
}

impl Point {
    pub(super) fn new(scalar: u64, torsion: usize) -> Self {
        Self { scalar: Scalar::from(scalar), torsion }
    }

    pub(super) fn encode(self) -> [u8; 32] {
        (EdwardsPoint::mul_base(&self.scalar) + EIGHT_TORSION[self.torsion]).compress().to_bytes()
    }
}

pub(super) struct Forged {
    pub(super) public: [u8; 32],
    pub(super) signature: [u8; 64],
    /// Whether [S]B = R + [k]A, or only eight times that.
    pub(super) equation: bool,
}

/// S = r + ka for whatever R and A look like.
pub(super) fn forge(key: Point, commitment: Point, message: &[u8]) -> Forged {
    forge_encoded(key, key.encode(), commitment, commitment.encode(), message)
}

/// [`forge`] with other encodings of the two points.
pub(super) fn forge_encoded(
    key: Point,
    public: [u8; 32],
    commitment: Point,
    encoded: [u8; 32],
    message: &[u8],
) -> Forged {
    let hash = Sha512::new().chain_update(encoded).chain_update(public).chain_update(message).finalize();
    let k = Scalar::from_bytes_mod_order_wide(&hash.into());
    let s = commitment.scalar + k * key.scalar;
    let left = EdwardsPoint::mul_base(&s);
    let [a, r] = [public, encoded].map(|point| CompressedEdwardsY(point).decompress().unwrap());
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&encoded);
    signature[32..].copy_from_slice(s.as_bytes());
    Forged { public, signature, equation: left == r + a * k }
}

/// The group order L, RFC 7748 §4.1, as S is written.
pub(super) const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// The signature with L added to S so many times; `None` where that needs more than 256 bits.
pub(super) fn add_order(signature: &[u8; 64], times: usize) -> Option<[u8; 64]> {
    let mut sum = *signature;
    for _ in 0..times {
        let mut carry = 0;
        for (byte, order) in sum[32..].iter_mut().zip(ORDER) {
            let total = u16::from(*byte) + u16::from(order) + carry;
            *byte = total as u8;
            carry = total >> 8;
        }
        if carry != 0 {
            return None;
        }
    }
    Some(sum)
}
