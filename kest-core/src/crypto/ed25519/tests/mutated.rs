use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::CompressedEdwardsY;
use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;

use super::forge::{Point, add_order};
use super::*;

#[derive(Clone, Debug)]
enum Change {
    FlipSignature(usize),
    FlipKey(usize),
    FlipMessage(usize),
    /// One of the eight points added.
    ShiftCommitment(usize),
    ShiftKey(usize),
    ReplaceCommitment(usize),
    ReplaceKey(usize),
    AddOrder(usize),
    ZeroS,
    AnySignature([u8; 32], [u8; 32]),
    Swap,
    Negate,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (0..512_usize).prop_map(Change::FlipSignature),
        (0..256_usize).prop_map(Change::FlipKey),
        (0..64_usize).prop_map(Change::FlipMessage),
        (1..8_usize).prop_map(Change::ShiftCommitment),
        (1..8_usize).prop_map(Change::ShiftKey),
        (0..8_usize).prop_map(Change::ReplaceCommitment),
        (0..8_usize).prop_map(Change::ReplaceKey),
        (1..15_usize).prop_map(Change::AddOrder),
        Just(Change::ZeroS),
        any::<([u8; 32], [u8; 32])>().prop_map(|(r, s)| Change::AnySignature(r, s)),
        Just(Change::Swap),
        Just(Change::Negate),
    ]
}

fn shift(point: &mut [u8], torsion: usize) {
    let encoded = CompressedEdwardsY::from_slice(point).unwrap();
    if let Some(decoded) = encoded.decompress() {
        point.copy_from_slice((decoded + EIGHT_TORSION[torsion]).compress().as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// `verdict` compares the back ends; no change leaves a signature valid.
    #[test]
    fn back_ends_agree(seed: [u8; 32], message: [u8; 8], changes in prop::collection::vec(change(), 1..4)) {
        let key = SigningKey::from_bytes(&seed);
        let mut public = key.verifying_key().to_bytes();
        let mut signature = key.sign(&message).to_bytes();
        let mut message = message;
        prop_assert_eq!(verdict(&public, &message, &signature), Some(true));
        let before = (public, message, signature);
        for change in changes {
            match change {
                Change::FlipSignature(bit) => signature[bit / 8] ^= 1 << (bit % 8),
                Change::FlipKey(bit) => public[bit / 8] ^= 1 << (bit % 8),
                Change::FlipMessage(bit) => message[bit / 8] ^= 1 << (bit % 8),
                Change::ShiftCommitment(torsion) => shift(&mut signature[..32], torsion),
                Change::ShiftKey(torsion) => shift(&mut public, torsion),
                Change::ReplaceCommitment(torsion) => {
                    signature[..32].copy_from_slice(&Point::new(0, torsion).encode());
                }
                Change::ReplaceKey(torsion) => public = Point::new(0, torsion).encode(),
                Change::AddOrder(times) => signature = add_order(&signature, times).unwrap_or(signature),
                Change::ZeroS => signature[32..].fill(0),
                Change::AnySignature(r, s) => {
                    signature[..32].copy_from_slice(&r);
                    signature[32..].copy_from_slice(&s);
                }
                Change::Swap => signature.rotate_left(32),
                Change::Negate => signature[31] ^= 0x80,
            }
        }
        let verdict = verdict(&public, &message, &signature);
        if (public, message, signature) != before {
            prop_assert_ne!(verdict, Some(true));
        }
    }
}
