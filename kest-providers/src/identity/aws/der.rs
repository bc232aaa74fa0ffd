//! ECDSA signatures: from the form KMS gives to the one a JWS carries.

use std::fmt;

/// Turns an `ECDSA-Sig-Value` (RFC 3279 §2.2.3) into r‖s of `size` bytes each (RFC 7518 §3.4).
///
/// # Errors
/// When it is not DER (X.690 §8.1, §8.3, §10.1) of exactly two positive integers that fit.
pub(super) fn to_fixed(der: &[u8], size: usize) -> Result<Vec<u8>, DerError> {
    let (content, rest) = value(der, 0x30)?;
    let (r, after) = value(content, 0x02)?;
    let (s, end) = value(after, 0x02)?;
    if !rest.is_empty() || !end.is_empty() {
        return Err(DerError("has trailing bytes"));
    }
    let mut fixed = Vec::with_capacity(size * 2);
    for integer in [r, s] {
        let number = unsigned(integer)?;
        let padding = size.checked_sub(number.len()).ok_or(DerError("has a number that is too long"))?;
        fixed.resize(fixed.len() + padding, 0);
        fixed.extend_from_slice(number);
    }
    Ok(fixed)
}

/// Why a signature is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DerError(&'static str);

impl fmt::Display for DerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the ECDSA signature {}", self.0)
    }
}

impl std::error::Error for DerError {}

/// The content of the first value, and what follows it.
fn value(input: &[u8], tag: u8) -> Result<(&[u8], &[u8]), DerError> {
    match input {
        // P-384 needs 104 bytes at most, so the long form of a length would not be minimal.
        [found, length, rest @ ..] if *found == tag && *length < 0x80 => {
            rest.split_at_checked(usize::from(*length)).ok_or(DerError("is cut off"))
        }
        [found, _, ..] if *found == tag => Err(DerError("has a length that is not minimal")),
        _ => Err(DerError("is not a sequence of two integers")),
    }
}

/// The digits of a positive INTEGER without its sign.
fn unsigned(integer: &[u8]) -> Result<&[u8], DerError> {
    match integer {
        [] => Err(DerError("has an empty number")),
        [0] => Err(DerError("has a zero")),
        [0, second, ..] if *second < 0x80 => Err(DerError("has a number that is not minimal")),
        [0, rest @ ..] => Ok(rest),
        [first, ..] if *first >= 0x80 => Err(DerError("has a negative number")),
        number => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn integer(number: &[u8]) -> Vec<u8> {
        let digits: Vec<u8> = number.iter().copied().skip_while(|digit| *digit == 0).collect();
        let sign: &[u8] = if digits.first().is_some_and(|first| *first >= 0x80) { &[0] } else { &[] };
        let length = u8::try_from(sign.len() + digits.len()).unwrap();
        [&[2, length], sign, &digits].concat()
    }

    fn encode(r: &[u8], s: &[u8]) -> Vec<u8> {
        let content = [integer(r), integer(s)].concat();
        [&[0x30, u8::try_from(content.len()).unwrap()], &*content].concat()
    }

    proptest! {
        #[test]
        fn gives_back_what_was_encoded(
            r in prop::collection::vec(any::<u8>(), 48), s in prop::collection::vec(any::<u8>(), 48),
            zeros in 0_usize..47,
        ) {
            for size in [32, 48] {
                let (mut r, mut s) = (r[..size].to_vec(), s[..size].to_vec());
                r[..zeros.min(size - 1)].fill(0);
                r[size - 1] |= 1;
                s[size - 1] |= 1;
                prop_assert_eq!(to_fixed(&encode(&r, &s), size).unwrap(), [r, s].concat());
            }
        }

        /// Whatever is accepted has one encoding only.
        #[test]
        fn accepts_one_form_only(
            seed in prop::collection::vec(any::<u8>(), 64), at in 0_usize..70, change in any::<u8>(),
        ) {
            let mut der = encode(&seed[..32], &seed[32..]);
            let at = at % der.len();
            der[at] = change;
            if let Ok(fixed) = to_fixed(&der, 32) {
                prop_assert_eq!(encode(&fixed[..32], &fixed[32..]), der);
            }
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = to_fixed(&bytes, 32);
        }
    }

    #[test]
    fn refuses_what_is_not_der() {
        let refused = |der: &[u8], why| assert_eq!(to_fixed(der, 2).unwrap_err(), DerError(why), "{der:?}");
        assert_eq!(to_fixed(&[0x30, 6, 2, 1, 5, 2, 1, 7], 2).unwrap(), [0, 5, 0, 7]);
        refused(&[], "is not a sequence of two integers");
        refused(&[0x31, 6, 2, 1, 5, 2, 1, 7], "is not a sequence of two integers");
        refused(&[0x30, 6, 3, 1, 5, 2, 1, 7], "is not a sequence of two integers");
        refused(&[0x30, 3, 2, 1, 5], "is not a sequence of two integers");
        refused(&[0x30, 7, 2, 1, 5, 2, 1, 7], "is cut off");
        refused(&[0x30, 6, 2, 1, 5, 2, 2, 7], "is cut off");
        refused(&[0x30, 0x81, 6, 2, 1, 5, 2, 1, 7], "has a length that is not minimal");
        refused(&[0x30, 6, 2, 1, 5, 2, 1, 7, 0], "has trailing bytes");
        refused(&[0x30, 9, 2, 1, 5, 2, 1, 7, 2, 1, 1], "has trailing bytes");
        refused(&[0x30, 7, 2, 2, 0, 5, 2, 1, 7], "has a number that is not minimal");
        refused(&[0x30, 6, 2, 1, 0x85, 2, 1, 7], "has a negative number");
        refused(&[0x30, 8, 2, 3, 1, 2, 3, 2, 1, 7], "has a number that is too long");
        refused(&[0x30, 5, 2, 0, 2, 1, 7], "has an empty number");
        refused(&[0x30, 6, 2, 1, 0, 2, 1, 7], "has a zero");
        assert_eq!(to_fixed(&[0x30, 8, 2, 3, 0, 0xff, 1, 2, 1, 7], 2).unwrap(), [0xff, 1, 0, 7]);
    }
}
