//! A JWT taken apart. RFC 7519 §7.2, RFC 7515 §5.2.

use base64_simd::URL_SAFE_NO_PAD;
use kest_core::canonical::parse_strict;
use kest_core::jws::Algorithm;
use kest_core::text::Quoted;
use serde_json::{Map, Value};

use super::failure::Failure;

/// The longest token that is looked at.
pub(super) const MAX_BYTES: usize = 64 * 1024;

/// What a token says, before anything of it is believed.
pub(super) struct Unchecked<'t> {
    pub(super) alg: Algorithm,
    pub(super) kid: Option<String>,
    pub(super) input: &'t [u8],
    pub(super) signature: Vec<u8>,
    pub(super) claims: Map<String, Value>,
    /// Whether its type says so. RFC 9068 §2.1.
    pub(super) is_access_token: bool,
}

impl<'t> Unchecked<'t> {
    /// Takes a token apart. Messages name no content but `alg`, `typ` and `crit`.
    pub(super) fn parse(token: &'t str) -> Result<Self, Failure> {
        if token.len() > MAX_BYTES {
            return Err(Failure::untrusted(format!("the token is larger than {MAX_BYTES} bytes")));
        }
        let mut segments = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (segments.next(), segments.next(), segments.next(), segments.next())
        else {
            return Err(Failure::untrusted("the token is no JWT: it has not three segments"));
        };
        let header = object("header", header)?;
        let claims = object("claims", claims)?;
        let signature = base64("signature", signature)?;
        let input = token.rsplit_once('.').map_or("", |(input, _)| input).as_bytes();
        // RFC 7515 §4.1.11: what must be understood, and is not, makes the token invalid.
        if header.contains_key("crit") {
            return Err(Failure::untrusted(
                "the token's header has `crit`, of which kest understands nothing",
            ));
        }
        Ok(Self {
            alg: algorithm(text(&header, "alg")?)?,
            kid: match header.get("kid") {
                None => None,
                Some(_) => Some(text(&header, "kid")?.to_owned()),
            },
            input,
            signature,
            is_access_token: kind(&header)? == "at+jwt",
            claims,
        })
    }

    /// The `iss` claim, which nobody has vouched for yet.
    pub(super) fn issuer(&self) -> Result<&str, Failure> {
        match self.claims.get("iss") {
            Some(Value::String(issuer)) => Ok(issuer),
            Some(_) | None => Err(Failure::untrusted("the token has no `iss`, or it is no string")),
        }
    }
}

fn object(what: &str, segment: &str) -> Result<Map<String, Value>, Failure> {
    match parse_strict(&base64(what, segment)?) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) | Err(_) => Err(Failure::untrusted(format!(
            "the token's {what} are no JSON object, or a member stands in it twice"
        ))),
    }
}

fn base64(what: &str, segment: &str) -> Result<Vec<u8>, Failure> {
    URL_SAFE_NO_PAD
        .decode_to_vec(segment)
        .map_err(|_| Failure::untrusted(format!("the token's {what} are not unpadded base64url")))
}

fn text<'h>(header: &'h Map<String, Value>, name: &str) -> Result<&'h str, Failure> {
    match header.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(_) | None => {
            Err(Failure::untrusted(format!("the token's header has no `{name}`, or it is no string")))
        }
    }
}

/// RFC 8725 §3.1: a list of what is allowed. `none` and the algorithms of shared secrets are not on it.
fn algorithm(name: &str) -> Result<Algorithm, Failure> {
    use Algorithm::{EdDsa, Es256, Es384, Ps256, Rs256};
    match name.parse::<Algorithm>() {
        Ok(alg @ (EdDsa | Es256 | Es384 | Rs256 | Ps256)) => Ok(alg),
        Ok(_) | Err(_) => Err(Failure::untrusted(format!(
            "the token is signed with {}; have the issuer use `RS256`, `PS256`, `ES256`, `ES384` or `EdDSA`",
            Quoted(name)
        ))),
    }
}

/// RFC 8725 §3.11: other kinds of JWT prove other things.
fn kind(header: &Map<String, Value>) -> Result<&'static str, Failure> {
    if !header.contains_key("typ") {
        return Ok("jwt");
    }
    let typ = text(header, "typ")?.to_ascii_lowercase();
    // RFC 7519 §5.1, RFC 9068 §2.1; RFC 7515 §4.1.9: with or without `application/`.
    match typ.strip_prefix("application/").unwrap_or(&typ) {
        "jwt" => Ok("jwt"),
        "at+jwt" => Ok("at+jwt"),
        _ => Err(Failure::untrusted(format!(
            "the token is of type {}; give an ID token or an access token",
            Quoted(&typ)
        ))),
    }
}
