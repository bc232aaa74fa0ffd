//! Numbers: RFC 8785 appendix B, and the oracle on many more.

use kest_core::canonical::{CanonicalError, parse_canonical, parse_strict, to_string, to_value};

/// RFC 8785 appendix B: the bits of a double and its text.
const APPENDIX_B: [(u64, &str); 24] = [
    (0x0000_0000_0000_0000, "0"),
    (0x8000_0000_0000_0000, "0"),
    (0x0000_0000_0000_0001, "5e-324"),
    (0x8000_0000_0000_0001, "-5e-324"),
    (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
    (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
    (0x4340_0000_0000_0000, "9007199254740992"),
    (0xc340_0000_0000_0000, "-9007199254740992"),
    (0x4430_0000_0000_0000, "295147905179352830000"),
    (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
    (0x44b5_2d02_c7e1_4af6, "1e+23"),
    (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
    (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
    (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
    (0x444b_1ae4_d6e2_ef50, "1e+21"),
    (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
    (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
    (0x41b3_de43_5555_5553, "333333333.3333332"),
    (0x41b3_de43_5555_5554, "333333333.33333325"),
    (0x41b3_de43_5555_5555, "333333333.3333333"),
    (0x41b3_de43_5555_5556, "333333333.3333334"),
    (0x41b3_de43_5555_5557, "333333333.33333343"),
    (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
    (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
];

#[test]
fn appendix_b_numbers_have_the_published_text() {
    for (bits, expected) in APPENDIX_B {
        let double = f64::from_bits(bits);
        assert_eq!(to_string(&double).unwrap(), expected, "{bits:016x}");
        let back = parse_canonical(expected.as_bytes()).unwrap();
        assert_eq!(back.as_f64(), Some(double), "{bits:016x}");
        assert_eq!(to_string(&back).unwrap(), expected, "{bits:016x}");
    }
}

#[test]
fn appendix_b_nan_and_infinity_are_errors() {
    assert_eq!(to_value(&f64::from_bits(0x7fff_ffff_ffff_ffff)), Err(CanonicalError::NotANumber));
    assert_eq!(to_value(&f64::from_bits(0x7ff0_0000_0000_0000)), Err(CanonicalError::Infinite));
    assert_eq!(to_value(&f64::from_bits(0xfff0_0000_0000_0000)), Err(CanonicalError::Infinite));
}

/// splitmix64.
struct Bits(u64);

impl Iterator for Bits {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some(z ^ (z >> 31))
    }
}

/// Our text of the double is the oracle's, and both our readers give the same double back for it.
fn agree(double: f64) {
    let ours = to_string(&double).unwrap();
    assert_eq!(ours, serde_json_canonicalizer::to_string(&double).unwrap(), "{:016x}", double.to_bits());
    for back in [parse_canonical(ours.as_bytes()), parse_strict(ours.as_bytes())] {
        assert_eq!(back.unwrap().as_f64(), Some(double), "{:016x}", double.to_bits());
    }
}

#[test]
fn random_doubles_agree_with_the_oracle() {
    const SEED: u64 = 0x8785_2026;
    eprintln!("seed {SEED:#x}");
    let doubles = Bits(SEED).map(f64::from_bits).filter(|double| double.is_finite());
    doubles.take(200_000).for_each(agree);
}

#[test]
fn doubles_at_the_edges_agree_with_the_oracle() {
    let around = |double: f64| {
        let bits = double.to_bits();
        (bits.saturating_sub(3)..=bits + 3).map(f64::from_bits).filter(|near| near.is_finite())
    };
    let powers_of_two = (0..0x7ff_u64).map(|exponent| f64::from_bits(exponent << 52));
    let subnormal_powers = (0..52).map(|bit| f64::from_bits(1 << bit));
    let powers_of_ten = (-323..=308).map(|power| format!("1e{power}").parse().unwrap());
    let integers =
        [1e15, 1e16, 1e17, 1e20, 1e21, 1e22, 9_007_199_254_740_993.0, 18_446_744_073_709_551_615.0];
    let last = [f64::MAX, f64::MIN_POSITIVE, f64::EPSILON];
    for double in powers_of_two.chain(subnormal_powers).chain(powers_of_ten).chain(integers).chain(last) {
        for near in around(double) {
            agree(near);
            agree(-near);
        }
    }
}

#[test]
fn subnormals_agree_with_the_oracle() {
    const SEED: u64 = 0x0008_7852;
    eprintln!("seed {SEED:#x}");
    Bits(SEED).take(20_000).for_each(|bits| agree(f64::from_bits(bits >> 12)));
    (0..2_000).for_each(|bits| agree(f64::from_bits(bits)));
}

/// Decimal integers near the bound: the text stands exactly if it is the ES6 form of the double it means.
#[test]
fn integer_text_stands_by_its_round_trip_alone() {
    for n in (1_u64 << 53) - 20..(1 << 53) + 200 {
        for text in [n.to_string(), format!("-{n}")] {
            let double: f64 = text.parse().unwrap();
            let round_trips = serde_json_canonicalizer::to_string(&double).unwrap() == text;
            let parsed = parse_canonical(text.as_bytes());
            assert_eq!(parsed.is_ok(), round_trips, "{text}");
            if let Ok(value) = parsed {
                assert_eq!(to_string(&value).unwrap(), text);
                assert_eq!(value.is_f64(), n > 1 << 53, "{text}");
            }
        }
    }
    let big = parse_canonical(b"100000000000000000").unwrap();
    assert!(big.is_f64());
    assert_eq!(to_string(&big).unwrap(), "100000000000000000");
}

#[test]
fn numbers_in_another_form_are_not_canonical() {
    for text in [
        "-0",
        "-0.0",
        "0.0",
        "1.0",
        "1.50",
        "1e0",
        "1E21",
        "1e21",
        "1e+021",
        "1e+20",
        "0.0000001",
        "1e-6",
        "10e+21",
        "100000000000000000000000",
        "9007199254740993",
        "-9007199254740993",
        "333333333.33333329",
        "1e-400",
    ] {
        let error = parse_canonical(text.as_bytes()).unwrap_err();
        assert!(matches!(error, CanonicalError::NotCanonical { offset: 0, .. }), "{text}: {error:?}");
    }
    for text in ["1e400", "-1e309", &"9".repeat(400)] {
        assert_eq!(parse_canonical(text.as_bytes()), Err(CanonicalError::Infinite), "{text}");
        assert_eq!(parse_strict(text.as_bytes()), Err(CanonicalError::Infinite), "{text}");
    }
}

#[test]
fn what_is_no_number_is_refused_by_both_parsers() {
    for text in [
        "-", "+1", "01", "-01", "00", "1.", ".5", "1.e5", "1e", "1e+", "1-", "1+", "--1", "1.2.3", "1e5e5",
        "1 2", "0x1", "1_000", "NaN", "Infinity", "nan", "inf", "\u{661}",
    ] {
        assert!(matches!(parse_strict(text.as_bytes()), Err(CanonicalError::Syntax { .. })), "{text}");
        // Of a text wrong in two ways the first is named: `1e5` and the blank in `1 2` are only not
        // canonical.
        let error = parse_canonical(text.as_bytes()).unwrap_err();
        let form = matches!(error, CanonicalError::NotCanonical { .. }) && ["1 2", "1e5e5"].contains(&text);
        assert!(matches!(error, CanonicalError::Syntax { .. }) || form, "{text}: {error:?}");
    }
}

#[test]
fn strict_numbers_follow_the_grammar() {
    for text in
        ["-0", "0.0", "1E5", "1e-05", "1.50", "18446744073709551615", "-9223372036854775808", "1e-400"]
    {
        let ours = parse_strict(text.as_bytes()).unwrap();
        let theirs: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(ours, theirs, "{text}");
    }
    assert!(parse_strict(b"-0").unwrap().as_f64().unwrap().is_sign_negative());
    for text in
        ["-", "+1", "01", "-01", "00", "1.", ".5", "1e", "1e+", "0x1", "1_0", "NaN", "1.e5", "--1", "1 2"]
    {
        assert!(matches!(parse_strict(text.as_bytes()), Err(CanonicalError::Syntax { .. })), "{text}");
    }
}
