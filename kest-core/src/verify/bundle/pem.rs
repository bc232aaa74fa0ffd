//! Certificates in PEM. RFC 7468 §5.

use base64_simd::STANDARD;

use super::BundleError;

/// The certificates of the text, in their order. Text between them is ignored, RFC 7468 §5.2; other kinds of blocks
/// are not: a private key does not belong among authorities.
pub(super) fn certificates(text: &str) -> Result<Vec<Vec<u8>>, BundleError> {
    let malformed = |why| BundleError::Pem { why };
    let mut all = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines().map(str::trim_end) {
        match (line, &mut open) {
            ("-----BEGIN CERTIFICATE-----", None) => open = Some(String::new()),
            ("-----END CERTIFICATE-----", Some(base64)) => {
                let der = STANDARD.decode_to_vec(base64.as_bytes());
                all.push(der.map_err(|_| malformed("has a certificate that is not base64"))?);
                open = None;
            }
            (line, _) if line.starts_with("-----") => {
                return Err(malformed("has something else than certificates between its `-----` lines"));
            }
            (line, Some(base64)) => base64.push_str(line),
            (_, None) => {}
        }
    }
    match (open, all.as_slice()) {
        (Some(_), _) => Err(malformed("ends inside a certificate")),
        (None, []) => Err(malformed("has no certificate")),
        (None, _) => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_in_order() {
        let text = "# root\r\n-----BEGIN CERTIFICATE-----\r\nAQID\r\nBA==\r\n-----END CERTIFICATE-----\r\n\n\
                    -----BEGIN CERTIFICATE-----\nBQ==\n-----END CERTIFICATE-----";
        assert_eq!(certificates(text).unwrap(), [vec![1, 2, 3, 4], vec![5]]);
    }

    #[test]
    fn anything_else_is_refused() {
        for (text, why) in [
            ("", "has no certificate"),
            ("-----BEGIN CERTIFICATE-----\nAQID\n", "ends inside"),
            ("-----BEGIN CERTIFICATE-----\nAQ\n-----END CERTIFICATE-----\n", "is not base64"),
            ("-----BEGIN CERTIFICATE-----\nA Q=\n-----END CERTIFICATE-----\n", "is not base64"),
            ("-----BEGIN PRIVATE KEY-----\nAQID\n-----END PRIVATE KEY-----\n", "something else"),
            ("-----END CERTIFICATE-----\n", "something else"),
            ("-----BEGIN CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\n", "something else"),
        ] {
            let error = certificates(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
