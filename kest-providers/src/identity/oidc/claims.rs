//! What a token with a good signature must say. OpenID Connect Core §2 and §3.1.3.7, RFC 7519 §4.1.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kest_core::error::IdentityErrorKind;
use kest_core::keys::Jwk;
use kest_core::text::Quoted;
use serde_json::{Map, Value};

use super::failure::Failure;

/// For whom a token must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// For one of these.
    Named(Vec<Box<str>>),
    /// For whomever.
    Any,
}

/// The audience where none is configured.
pub(super) const DEFAULT_AUDIENCE: &str = "kest";

/// How far clocks may differ.
pub(super) const DEFAULT_LEEWAY: Duration = Duration::from_secs(30);
pub(super) const LONGEST_LEEWAY: Duration = Duration::from_secs(5 * 60);

/// OpenID Connect Core §2 allows 255; some issuers write whole paths.
const LONGEST_SUBJECT: usize = 1_024;

/// The claims that count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) issuer: Arc<str>,
    pub(super) subject: Arc<str>,
    /// The first second in which the token is no longer good, leeway included.
    pub(super) good_before: u64,
    /// `exp`, in seconds.
    pub(super) expires: u64,
    audiences: Vec<String>,
    confirmation: Option<Map<String, Value>>,
}

impl Claims {
    /// Reads them, and checks all that does not depend on the audience.
    pub(super) fn read(
        claims: &Map<String, Value>,
        issuer: &str,
        leeway: Duration,
        now: u64,
    ) -> Result<Self, Failure> {
        // OpenID Connect Core §3.1.3.7 step 2: exactly.
        match claims.get("iss").and_then(Value::as_str) {
            Some(found) if found == issuer => {}
            Some(found) => {
                return Err(Failure::untrusted(format!(
                    "the token is from issuer {}, not from {}",
                    Quoted(found),
                    Quoted(issuer)
                )));
            }
            None => return Err(Failure::untrusted("the token has no `iss`, or it is no string")),
        }
        let leeway = leeway.as_secs();
        let expires = required_date(claims, "exp")?;
        let good_before = expires.saturating_add(leeway);
        if now >= good_before {
            return Err(Failure::new(
                IdentityErrorKind::SvidExpired,
                format!("the token expired {} s ago; check that the platform renews it", now - expires),
            ));
        }
        if let Some(ahead) = ahead(date(claims, "nbf")?, now, leeway) {
            return Err(Failure::untrusted(format!(
                "the token is not valid before another {ahead} s (`nbf`)"
            )));
        }
        let issued = required_date(claims, "iat")?;
        if let Some(ahead) = ahead(Some(issued), now, leeway) {
            let why =
                format!("the token was issued {ahead} s in the future (`iat`); check this machine's clock");
            return Err(Failure::untrusted(why));
        }
        if issued > expires {
            return Err(Failure::untrusted("the token was issued after it expired (`iat`, `exp`)"));
        }
        Ok(Self {
            issuer: issuer.into(),
            subject: subject(claims)?.into(),
            good_before,
            expires,
            audiences: audiences(claims)?,
            confirmation: match claims.get("cnf") {
                None => None,
                Some(Value::Object(members)) => Some(members.clone()),
                Some(_) => return Err(Failure::untrusted("the token's `cnf` is no object")),
            },
        })
    }

    /// Whether one of these names is among the token's audiences.
    pub(super) fn is_for_one_of(&self, names: &[Box<str>]) -> Result<(), Failure> {
        if names.iter().any(|name| self.audiences.iter().any(|found| **found == **name)) {
            return Ok(());
        }
        let found = self.audiences.iter().take(4).map(|name| Quoted(name).to_string()).collect::<Vec<_>>();
        Err(Failure::untrusted(format!(
            "the token is for audience {}, not for this service; request one for it",
            found.join(", ")
        )))
    }

    /// Whether the token is for this audience, or for the key of that thumbprint.
    pub(super) fn is_for(&self, audience: &Audience, thumbprint: &str) -> Result<(), Failure> {
        let named = match audience {
            Audience::Any => true,
            Audience::Named(names) => {
                names.iter().any(|name| self.audiences.iter().any(|found| **found == **name))
            }
        };
        if named || self.is_for_key(thumbprint) {
            return Ok(());
        }
        let wanted = match audience {
            Audience::Named(names) => {
                names.iter().map(|name| Quoted(name).to_string()).collect::<Vec<_>>().join(", ")
            }
            Audience::Any => String::new(),
        };
        let found = self.audiences.iter().take(4).map(|name| Quoted(name).to_string()).collect::<Vec<_>>();
        Err(Failure::untrusted(format!(
            "the token is for audience {}, not for {wanted}; request it for that audience, or name its own with \
             `.audience(…)` or `KEST_OIDC_AUDIENCE`",
            found.join(", ")
        )))
    }

    /// Whether one of the audiences is the key.
    pub(super) fn is_for_key(&self, thumbprint: &str) -> bool {
        let uri = thumbprint_uri(thumbprint);
        self.audiences.iter().any(|audience| audience == thumbprint || *audience == uri)
    }

    /// The thumbprint of the key that the token confirms. RFC 7800 §3.2, RFC 9449 §6.1.
    pub(super) fn confirmed_key(&self) -> Result<Option<String>, Failure> {
        let Some(members) = &self.confirmation else { return Ok(None) };
        let named = match members.get("jkt") {
            None => None,
            Some(Value::String(thumbprint)) => Some(thumbprint.clone()),
            Some(_) => return Err(Failure::untrusted("the token's `cnf.jkt` is no string")),
        };
        let given = match members.get("jwk") {
            None => None,
            Some(key) => Some(
                Jwk::from_json(key)
                    .map_err(|error| {
                        Failure::untrusted(format!("the token's `cnf.jwk` cannot be used: {error}"))
                    })?
                    .thumbprint(),
            ),
        };
        match (named, given) {
            (Some(named), Some(given)) if named != given => {
                Err(Failure::untrusted("the token's `cnf` names two keys"))
            }
            (named, given) => Ok(named.or(given)),
        }
    }
}

/// RFC 9278 §3.
pub(super) fn thumbprint_uri(thumbprint: &str) -> String {
    format!("urn:ietf:params:oauth:jwk-thumbprint:sha-256:{thumbprint}")
}

/// Seconds since the epoch.
pub(super) fn now() -> u64 {
    // A clock before 1970 makes every token one from the future.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn subject(claims: &Map<String, Value>) -> Result<&str, Failure> {
    let subject = match claims.get("sub") {
        Some(Value::String(subject)) => subject,
        Some(_) | None => return Err(Failure::untrusted("the token has no `sub`, or it is no string")),
    };
    if subject.is_empty() || subject.len() > LONGEST_SUBJECT {
        let why = format!("the token's `sub` is empty or longer than {LONGEST_SUBJECT} bytes");
        return Err(Failure::untrusted(why));
    }
    if subject.trim() != subject || subject.chars().any(char::is_control) {
        return Err(Failure::untrusted("the token's `sub` has white space around it, or control characters"));
    }
    Ok(subject)
}

/// RFC 7519 §4.1.3: one, or a list.
fn audiences(claims: &Map<String, Value>) -> Result<Vec<String>, Failure> {
    let malformed =
        || Failure::untrusted("the token has no `aud`, or it is neither a string nor a list of them");
    match claims.get("aud") {
        Some(Value::String(one)) if !one.is_empty() => Ok(vec![one.clone()]),
        Some(Value::Array(several)) if !several.is_empty() => {
            several.iter().map(|one| one.as_str().map(str::to_owned).ok_or_else(malformed)).collect()
        }
        Some(_) | None => Err(malformed()),
    }
}

/// By how many seconds more than the leeway the date is ahead.
fn ahead(date: Option<u64>, now: u64, leeway: u64) -> Option<u64> {
    date.and_then(|date| date.checked_sub(now.saturating_add(leeway))).filter(|ahead| *ahead > 0)
}

fn required_date(claims: &Map<String, Value>, name: &str) -> Result<u64, Failure> {
    date(claims, name)?.ok_or_else(|| Failure::untrusted(format!("the token has no `{name}`")))
}

/// A NumericDate, RFC 7519 §2: seconds, perhaps with a fraction, which is cut off.
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, Failure> {
    const LATEST: f64 = (1_u64 << 53) as f64;
    let malformed = || Failure::untrusted(format!("the token's `{name}` is no date"));
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => match number.as_f64() {
            Some(seconds) if (0.0..=LATEST).contains(&seconds) => Ok(Some(seconds as u64)),
            Some(_) | None => Err(malformed()),
        },
        Some(_) => Err(malformed()),
    }
}
