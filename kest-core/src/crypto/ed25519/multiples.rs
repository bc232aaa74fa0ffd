//! Multiples of a point, worked out before they are needed.

use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::Identity as _;

/// For each digit of a scalar, in digits of `BITS` bits from −2^(`BITS`−1) up to 2^(`BITS`−1), the point times that
/// digit at its place. A scalar times the point is then one addition a digit, and no doubling.
///
/// Takes another time for each scalar: only for scalars that everybody may know.
pub(super) struct Multiples<const BITS: u32> {
    /// Places one after the other; of each the multiples from 1 up.
    all: Box<[EdwardsPoint]>,
}

impl<const BITS: u32> Multiples<BITS> {
    const HALF: usize = 1 << (BITS - 1);
    /// A scalar is less than 2^253.
    const PLACES: usize = 253_u32.div_ceil(BITS) as usize;

    pub(super) fn of(point: &EdwardsPoint) -> Self {
        let mut all = Vec::with_capacity(Self::PLACES * Self::HALF);
        let mut once = *point;
        for _ in 0..Self::PLACES {
            let mut multiple = once;
            all.push(multiple);
            for _ in 1..Self::HALF {
                multiple += once;
                all.push(multiple);
            }
            once = multiple + multiple;
        }
        Self { all: all.into() }
    }

    /// The point times the scalar; never none for a scalar that is reduced.
    pub(super) fn times(&self, scalar: &Scalar) -> Option<EdwardsPoint> {
        self.added_to(EdwardsPoint::identity(), scalar)
    }

    /// The same, added to another point.
    pub(super) fn added_to(&self, mut sum: EdwardsPoint, scalar: &Scalar) -> Option<EdwardsPoint> {
        let mut rest = [0_u64; 4];
        for (limb, bytes) in rest.iter_mut().zip(scalar.as_bytes().as_chunks().0) {
            *limb = u64::from_le_bytes(*bytes);
        }
        let mut carry = false;
        for multiples in self.all.chunks_exact(Self::HALF) {
            let [lowest, low, high, highest] = rest;
            let digit = (lowest & ((1 << BITS) - 1)) as usize + usize::from(carry);
            let down = |limb: u64, next: u64| limb >> BITS | next << (64 - BITS);
            rest = [down(lowest, low), down(low, high), down(high, highest), highest >> BITS];
            // What is more than half is less than nothing, and one more at the next place.
            carry = digit > Self::HALF;
            if carry {
                match (1 << BITS) - digit {
                    0 => {}
                    less => sum -= multiples.get(less - 1)?,
                }
            } else if digit > 0 {
                sum += multiples.get(digit - 1)?;
            }
        }
        (!carry && rest == [0; 4]).then_some(sum)
    }
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
    use proptest::prelude::*;

    use super::*;

    fn same<const BITS: u32>(point: &EdwardsPoint, scalars: &[Scalar]) {
        let multiples = Multiples::<BITS>::of(point);
        for scalar in scalars {
            assert_eq!(
                multiples.times(scalar),
                Some(point * scalar),
                "{BITS} bits, {:02x?}",
                scalar.as_bytes()
            );
        }
    }

    /// The multiplication of the library is the oracle.
    fn same_in_all_sizes(point: &EdwardsPoint, scalars: &[Scalar]) {
        same::<1>(point, scalars);
        same::<2>(point, scalars);
        same::<4>(point, scalars);
        same::<5>(point, scalars);
        same::<6>(point, scalars);
        same::<7>(point, scalars);
    }

    /// The same bits at every place, which makes every digit once, with a carry and without.
    fn patterns(bits: u32) -> impl Iterator<Item = Scalar> {
        (0..1_u32 << bits).map(move |digit| {
            let mut bytes = [0; 32];
            for place in 0..252 {
                bytes[place / 8] |= (((digit >> (place as u32 % bits)) & 1) as u8) << (place % 8);
            }
            Scalar::from_bytes_mod_order(bytes)
        })
    }

    #[test]
    fn scalars_at_the_edges() {
        let powers = (0..253).map(|bit| {
            let mut bytes = [0; 32];
            bytes[bit / 8] = 1 << (bit % 8);
            Scalar::from_bytes_mod_order(bytes)
        });
        let mut scalars: Vec<Scalar> =
            powers.flat_map(|power| [power, power - Scalar::ONE, -power]).collect();
        scalars.extend([Scalar::ZERO, Scalar::ONE, -Scalar::ONE]);
        scalars.extend(patterns(5).chain(patterns(6)));
        same_in_all_sizes(&ED25519_BASEPOINT_POINT, &scalars);
        for torsion in EIGHT_TORSION {
            same::<5>(&(ED25519_BASEPOINT_POINT + torsion), &scalars);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_scalar_and_any_point(times: [u8; 32], scalars: [[u8; 32]; 8], torsion in 0..8_usize) {
            let point = EdwardsPoint::mul_base(&Scalar::from_bytes_mod_order(times)) + EIGHT_TORSION[torsion];
            same_in_all_sizes(&point, &scalars.map(Scalar::from_bytes_mod_order));
        }
    }
}
