//! Just enough DER for public keys and certificates. X.690.

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const SEQUENCE: u8 = 0x30;

/// One value, and what follows it.
pub(crate) struct Value<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    /// Tag and length included.
    pub(crate) whole: &'a [u8],
    pub(crate) rest: &'a [u8],
}

impl<'a> Value<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, DerError> {
        let [tag, first, after @ ..] = bytes else { return Err(DerError::Truncated) };
        // X.690 §8.1.2.4: no key and no certificate has tags over 30.
        if tag & 0x1f == 0x1f {
            return Err(DerError::Tag);
        }
        let (length, after) = match first {
            0..=0x7f => (usize::from(*first), after),
            // X.690 §10.1: definite, and as short as can be.
            0x81..=0x83 => {
                let octets = usize::from(first & 0x7f);
                let (digits, after) = after.split_at_checked(octets).ok_or(DerError::Truncated)?;
                let length = digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit));
                let shortest = digits.first().is_some_and(|digit| *digit != 0) && length >= 0x80;
                if !shortest {
                    return Err(DerError::Length);
                }
                (length, after)
            }
            _ => return Err(DerError::Length),
        };
        let (content, rest) = after.split_at_checked(length).ok_or(DerError::Truncated)?;
        let whole = bytes.get(..bytes.len() - rest.len()).ok_or(DerError::Truncated)?;
        Ok(Self { tag: *tag, content, whole, rest })
    }

    /// The content, if the tag is that one.
    pub(crate) fn inside(&self, tag: u8) -> Option<&'a [u8]> {
        (self.tag == tag).then_some(self.content)
    }

    /// The content of a positive INTEGER without its sign, in as few octets as it needs. X.690 §8.3.
    pub(crate) fn unsigned(&self) -> Option<&'a [u8]> {
        match self.inside(INTEGER)? {
            [0, rest @ ..] if rest.first().is_some_and(|first| *first >= 0x80) => Some(rest),
            number @ [1..=0x7f, ..] => Some(number),
            _ => None,
        }
    }
}

/// Why bytes are no DER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DerError {
    Truncated,
    Tag,
    Length,
}

/// One value, X.690 §8.1 and §10.1.
pub(crate) fn encode(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len().to_be_bytes();
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => out.push(short),
        Ok(_) | Err(_) => {
            let significant: Vec<u8> = length.iter().copied().skip_while(|byte| *byte == 0).collect();
            // At most 8 octets.
            out.push(0x80 | significant.len() as u8);
            out.extend(significant);
        }
    }
    out.extend_from_slice(content);
    out
}

/// A positive INTEGER, X.690 §8.3.
pub(crate) fn encode_unsigned(number: &[u8]) -> Vec<u8> {
    let sign: &[u8] = if number.first().is_some_and(|first| *first >= 0x80) { &[0] } else { &[] };
    encode(INTEGER, &[sign, number].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_form() {
        let read = |bytes: &[u8]| Value::read(bytes).unwrap().unsigned().map(<[u8]>::to_vec);
        for number in [&[1][..], &[0x7f], &[0x80], &[0xff, 0], &[1; 200]] {
            assert_eq!(read(&encode_unsigned(number)).as_deref(), Some(number));
        }
        // Zero, negative, a zero too many, empty, and no number.
        for other in [&[2, 1, 0][..], &[2, 1, 0x80], &[2, 2, 0, 1], &[2, 0], &[4, 1, 1]] {
            assert_eq!(read(other), None);
        }
    }

    #[test]
    fn lengths_go_round() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000] {
            let bytes = encode(SEQUENCE, &vec![7; length]);
            let value = Value::read(&bytes).unwrap();
            assert_eq!((value.content.len(), value.rest.len(), value.whole.len()), (length, 0, bytes.len()));
        }
    }
}
