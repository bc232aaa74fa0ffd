//! What implementations are known to differ on: points of small and mixed order, encodings that are not canonical,
//! S of L and more, the equation with cofactor.

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::scalar::Scalar;

use super::forge::{Forged, Point, add_order, forge, forge_encoded};
use super::*;

#[test]
fn the_table_of_small_order_is_the_whole_table() {
    for torsion in EIGHT_TORSION {
        assert!(is_small_order(&torsion.compress().to_bytes()));
    }
    let mut distinct: Vec<[u8; 32]> = EIGHT_TORSION.iter().map(|point| point.compress().to_bytes()).collect();
    for point in &mut distinct {
        point[31] &= 0x7f;
    }
    distinct.sort_unstable();
    distinct.dedup();
    let mut table = SMALL_ORDER.to_vec();
    table.sort_unstable();
    assert_eq!(distinct, table);
    assert!(!is_small_order(&Point::new(1, 0).encode()) && !is_small_order(&Point::new(1, 3).encode()));
}

#[test]
fn keys_of_small_order_verify_nothing() {
    for key in 0..8 {
        let mut solved = 0;
        for commitment in 0..8 {
            for turn in 0..32_u8 {
                // R of small order and of mixed order.
                for scalar in [0, 5] {
                    let forged = forge(Point::new(0, key), Point::new(scalar, commitment), &[turn]);
                    assert_eq!(verdict(&forged.public, &[turn], &forged.signature), Some(false));
                    solved += u32::from(forged.equation);
                }
            }
        }
        assert!(solved > 0, "the equation never held, so nothing was tried");
    }
}

#[test]
fn commitments_of_small_order_verify_nothing() {
    let mut solved = 0;
    for key in 0..8 {
        for commitment in 0..8 {
            for turn in 0..32_u8 {
                let forged = forge(Point::new(7, key), Point::new(0, commitment), &[turn]);
                assert_eq!(verdict(&forged.public, &[turn], &forged.signature), Some(false));
                solved += u32::from(forged.equation);
            }
        }
    }
    assert!(solved > 64, "{solved}");
}

#[test]
fn points_of_mixed_order_count_only_in_the_equation_without_cofactor() {
    let (mut accepted, mut refused) = (0, 0);
    for key in 0..8 {
        for commitment in 0..8 {
            for turn in 0..16_u8 {
                let Forged { public, signature, equation } =
                    forge(Point::new(11, key), Point::new(13, commitment), &[turn]);
                assert_eq!(
                    verdict(&public, &[turn], &signature),
                    Some(equation),
                    "{key} {commitment} {turn}"
                );
                if equation { accepted += 1 } else { refused += 1 }
            }
        }
    }
    assert!(accepted > 64 && refused > 64, "{accepted} accepted, {refused} refused");
}

/// RFC 8032 §5.1.7 step 1: S < L. Also of each back end alone.
#[test]
fn s_has_one_form() {
    let Forged { public, signature, equation } = forge(Point::new(3, 0), Point::new(5, 0), b"m");
    assert!(equation && verdict(&public, b"m", &signature) == Some(true));
    let multiples: Vec<_> = (1..16).map_while(|times| add_order(&signature, times)).collect();
    assert!(multiples.len() >= 14);
    for other in multiples {
        assert_eq!(verdict(&public, b"m", &other), Some(false));
        assert!(raw(&public, b"m", &other).iter().all(|accepted| !accepted));
    }
    // The bits over L that old implementations did not look at.
    for bits in [0x20, 0x40, 0x80, 0xe0] {
        let mut other = signature;
        other[63] |= bits;
        assert_eq!(verdict(&public, b"m", &other), Some(false));
        assert!(raw(&public, b"m", &other).iter().all(|accepted| !accepted));
    }
    let zero = forge(Point::new(3, 0), Point { scalar: Scalar::ZERO, torsion: 0 }, b"m");
    assert_eq!(verdict(&public, b"m", &zero.signature), Some(false));
}

/// Every encoding of a y of p and more, with both signs, and x = 0 with the sign of a negative number.
fn not_canonical() -> impl Iterator<Item = [u8; 32]> {
    let over = (0xed..=0xff_u8).flat_map(|lowest| {
        [0x7f, 0xff].map(|highest| {
            let mut point = [0xff; 32];
            (point[0], point[31]) = (lowest, highest);
            point
        })
    });
    let mut one = [0; 32];
    (one[0], one[31]) = (1, 0x80);
    let mut minus_one = [0xff; 32];
    minus_one[0] = 0xec;
    over.chain([one, minus_one])
}

#[test]
fn encodings_that_are_not_canonical_are_refused() {
    for point in not_canonical() {
        // As a key: not one, or a weak one.
        assert!(matches!(verdict(&point, b"m", &[0; 64]), None | Some(false)), "{point:02x?}");
        // As a commitment: whatever S is.
        let Forged { public, mut signature, .. } = forge(Point::new(3, 0), Point::new(5, 0), b"m");
        signature[..32].copy_from_slice(&point);
        assert_eq!(verdict(&public, b"m", &signature), Some(false), "{point:02x?}");
    }
    // One that decodes, to a point of order 4 or 1, and with which the equation holds.
    let mut solved = 0;
    for (encoded, torsion) in not_canonical().filter_map(|encoded| {
        let point = curve25519_dalek::edwards::CompressedEdwardsY(encoded).decompress()?;
        EIGHT_TORSION.iter().position(|torsion| *torsion == point).map(|torsion| (encoded, torsion))
    }) {
        for key in 0..8 {
            for turn in 0..16_u8 {
                let (key, commitment) = (Point::new(9, key), Point::new(0, torsion));
                let forged = forge_encoded(key, key.encode(), commitment, encoded, &[turn]);
                assert_eq!(verdict(&forged.public, &[turn], &forged.signature), Some(false));
                solved += u32::from(forged.equation);
            }
        }
    }
    assert!(solved > 0, "the equation never held, so nothing was tried");
}

#[test]
fn signatures_of_another_length_are_refused() {
    let Forged { public, signature, .. } = forge(Point::new(3, 0), Point::new(5, 0), b"m");
    let longer = [&signature[..], &[0]].concat();
    assert_eq!(verdict(&public, b"m", &longer), Some(false));
    for end in 0..64 {
        assert_eq!(verdict(&public, b"m", &signature[..end]), Some(false));
    }
}

/// K. Chalkias, F. Garillot, V. Nikolaenko: Taming the many EdDSAs (SSR 2020), the published cases: message, key,
/// signature, and what a check without cofactor says that refuses small order and second encodings.
const PUBLISHED: [(&str, &str, &str, bool); 10] = [
    (
        "8c93255d71dcab10e8f379c26200f3c7bd5f09d9bc3068d3ef4edeb4853022b6",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a0000000000000000000000000000000000000000000000000000000000000000",
        false,
    ),
    (
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
        false,
    ),
    (
        "aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa8c4bd45aecaca5b24fb97bc10ac27ac8751a7dfe1baff8b953ec9f5833ca260e",
        false,
    ),
    (
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f87909e14428a7a1d62e9f22f3d3ad7802db02eb2e688b6c52fcd6648a98bd009",
        true,
    ),
    (
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed5125ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09",
        false,
    ),
    (
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "21122a84e0b5fca4052f5b1235c80a537878b38f3142356b2c2384ebad4668b7e40bc836dac0f71076f9abe3a53f9c03c1ceeeddb658d0030494ace586687405",
        false,
    ),
    (
        "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
        "e96f66be976d82e60150baecff9906684aebb1ef181f67a7189ac78ea23b6c0e547f7690a0e2ddcd04d87dbc3490dc19b3b3052f7ff0538cb68afb369ba3a514",
        false,
    ),
    (
        "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
        "8ce5b96c8f26d0ab6c47958c9e68b937104cd36e13c33566acd2fe8d38aa19427e71f98a473474f2f13f06f97c20d58cc3f54b8bd0d272f42b695dd7e89a8c22",
        false,
    ),
    (
        "fdaebc429f4a735932a160da1301080c13280eea8bc280d1b392c6b9e6ba3a5a",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f454d370c8d9fc323a41450f8d513eafeb5b0697390c1e505a0d4ddc71f566607",
        false,
    ),
    (
        "84b698d39be126ff55fe45079e6c8bf64a0d7db6994560b4e96b7021eb39c1a1",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f084d5b99c2a9463d9c8bd5026916996984eeec87ddf1d3be329006ace1b37b09",
        false,
    ),
];

#[test]
fn the_published_cases() {
    let bytes = |hex: &str| -> Vec<u8> {
        let pairs = hex.as_bytes().chunks(2);
        pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    };
    for (number, (message, public, signature, accepted)) in PUBLISHED.into_iter().enumerate() {
        let public = bytes(public).try_into().unwrap();
        assert_eq!(verdict(&public, &bytes(message), &bytes(signature)), Some(accepted), "case {number}");
    }
}
