//! Why a request is not let in, as the caller is told: RFC 9457, or a gRPC status.

use std::fmt;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use kest_core::text;
use kest_core::verify::Step;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Map, Value};

/// Why a request is not let in.
///
/// Towards HTTP callers it is `application/problem+json` (RFC 9457), whose `type` is `urn:kest:problem:<name>`.
/// Callers of gRPC get a status in a response of trailers only.
///
/// | name | HTTP | gRPC | what the caller did |
/// |---|---|---|---|
/// | `malformed-lineage` | 400 | `INVALID_ARGUMENT` | what stands in `baggage` is no lineage, contradicts itself or lacks its tail |
/// | `oversized-lineage` | 400 | `INVALID_ARGUMENT` | it is over a limit |
/// | `unknown-claim` | 400 | `INVALID_ARGUMENT` | its claim check refers to nothing (any more) |
/// | `unverified-lineage` | 401 | `UNAUTHENTICATED` | signatures or principals are not good |
/// | `stale-lineage` | 401 | `UNAUTHENTICATED` | it is too old, or from the future |
/// | `unbound-lineage` | 401 | `UNAUTHENTICATED` | it is another's, and that is not allowed here |
/// | `missing-lineage` | 401 | `UNAUTHENTICATED` | there is none, and there must be |
/// | `forbidden-lineage` | 403 | `PERMISSION_DENIED` | a principal did what it may not (strict verifiers only) |
/// | `cache-unavailable` | 503 | `UNAVAILABLE` | nothing: the cache of claim checks cannot be asked |
/// | `keys-unavailable` | 503 | `UNAVAILABLE` | nothing: the keys of a principal cannot be had |
/// | `busy` | 503 | `UNAVAILABLE` | nothing: too many verifications are under way |
/// | `malformed-credentials` | 400 | `INVALID_ARGUMENT` | more than one `Authorization` header |
/// | `missing-token` | 401 | `UNAUTHENTICATED` | no bearer token |
/// | `invalid-token` | 401 | `UNAUTHENTICATED` | the token is not good |
/// | `issuer-unavailable` | 503 | `UNAVAILABLE` | nothing: the issuer's keys cannot be had |
/// | `misconfigured` | 500 | `INTERNAL` | nothing: the layers stand in the wrong order, or one twice |
///
/// 401 comes with `WWW-Authenticate` (RFC 9110 §11.6.1): `Bearer` for tokens (RFC 6750 §3), `Kest` for lineage.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: ProblemKind,
    detail: String,
    entry: Option<usize>,
    step: Option<Step>,
}

/// Kinds of [`Problem`]: the table there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each stands in the table of `Problem`")]
pub enum ProblemKind {
    MalformedLineage,
    OversizedLineage,
    UnknownClaim,
    UnverifiedLineage,
    StaleLineage,
    UnboundLineage,
    MissingLineage,
    ForbiddenLineage,
    CacheUnavailable,
    KeysUnavailable,
    Busy,
    MalformedCredentials,
    MissingToken,
    InvalidToken,
    IssuerUnavailable,
    Misconfigured,
}

/// What a kind is to callers: name, title, status, gRPC code (<https://grpc.io/docs/guides/status-codes/>).
struct Told(&'static str, &'static str, StatusCode, u8);

const INVALID_ARGUMENT: u8 = 3;
const PERMISSION_DENIED: u8 = 7;
const INTERNAL: u8 = 13;
const UNAVAILABLE: u8 = 14;
const UNAUTHENTICATED: u8 = 16;

impl ProblemKind {
    fn told(self) -> Told {
        use StatusCode as S;
        match self {
            Self::MalformedLineage => {
                Told("malformed-lineage", "The lineage cannot be read", S::BAD_REQUEST, INVALID_ARGUMENT)
            }
            Self::OversizedLineage => {
                Told("oversized-lineage", "The lineage is too large", S::BAD_REQUEST, INVALID_ARGUMENT)
            }
            Self::UnknownClaim => {
                Told("unknown-claim", "The claim check is not known", S::BAD_REQUEST, INVALID_ARGUMENT)
            }
            Self::UnverifiedLineage => {
                Told("unverified-lineage", "The lineage does not verify", S::UNAUTHORIZED, UNAUTHENTICATED)
            }
            Self::StaleLineage => {
                Told("stale-lineage", "The lineage is not of now", S::UNAUTHORIZED, UNAUTHENTICATED)
            }
            Self::UnboundLineage => {
                Told("unbound-lineage", "The lineage is another's", S::UNAUTHORIZED, UNAUTHENTICATED)
            }
            Self::MissingLineage => {
                Told("missing-lineage", "A lineage is required", S::UNAUTHORIZED, UNAUTHENTICATED)
            }
            Self::ForbiddenLineage => {
                Told("forbidden-lineage", "The lineage is not allowed", S::FORBIDDEN, PERMISSION_DENIED)
            }
            Self::CacheUnavailable => Told(
                "cache-unavailable",
                "Claim checks cannot be redeemed now",
                S::SERVICE_UNAVAILABLE,
                UNAVAILABLE,
            ),
            Self::KeysUnavailable => Told(
                "keys-unavailable",
                "The lineage cannot be verified now",
                S::SERVICE_UNAVAILABLE,
                UNAVAILABLE,
            ),
            Self::Busy => Told("busy", "Too many verifications", S::SERVICE_UNAVAILABLE, UNAVAILABLE),
            Self::MalformedCredentials => Told(
                "malformed-credentials",
                "The credentials cannot be read",
                S::BAD_REQUEST,
                INVALID_ARGUMENT,
            ),
            Self::MissingToken => {
                Told("missing-token", "A bearer token is required", S::UNAUTHORIZED, UNAUTHENTICATED)
            }
            Self::InvalidToken => {
                Told("invalid-token", "The bearer token is not good", S::UNAUTHORIZED, UNAUTHENTICATED)
            }
            Self::IssuerUnavailable => Told(
                "issuer-unavailable",
                "The token cannot be checked now",
                S::SERVICE_UNAVAILABLE,
                UNAVAILABLE,
            ),
            Self::Misconfigured => {
                Told("misconfigured", "The service is misconfigured", S::INTERNAL_SERVER_ERROR, INTERNAL)
            }
        }
    }

    /// The last part of `urn:kest:problem:<name>`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.told().0
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> StatusCode {
        self.told().2
    }

    /// The gRPC status code.
    #[must_use]
    pub fn grpc_code(self) -> u8 {
        self.told().3
    }

    /// `WWW-Authenticate` of a 401. RFC 9110 §15.5.2: it must be there.
    fn challenge(self) -> Option<HeaderValue> {
        match self {
            // RFC 6750 §3.1: without an error code where no credentials were given.
            Self::MissingToken => Some(HeaderValue::from_static("Bearer")),
            Self::InvalidToken => Some(HeaderValue::from_static("Bearer error=\"invalid_token\"")),
            Self::MissingLineage => Some(HeaderValue::from_static("Kest")),
            Self::UnverifiedLineage => Some(HeaderValue::from_static("Kest error=\"unverified-lineage\"")),
            Self::StaleLineage => Some(HeaderValue::from_static("Kest error=\"stale-lineage\"")),
            Self::UnboundLineage => Some(HeaderValue::from_static("Kest error=\"unbound-lineage\"")),
            Self::MalformedLineage
            | Self::OversizedLineage
            | Self::UnknownClaim
            | Self::ForbiddenLineage
            | Self::CacheUnavailable
            | Self::KeysUnavailable
            | Self::Busy
            | Self::MalformedCredentials
            | Self::IssuerUnavailable
            | Self::Misconfigured => None,
        }
    }
}

impl Problem {
    pub(crate) fn new(kind: ProblemKind, detail: impl fmt::Display) -> Self {
        Self { kind, detail: text::message(&detail.to_string()), entry: None, step: None }
    }

    pub(crate) fn at(mut self, entry: Option<usize>, step: Step) -> Self {
        self.entry = entry;
        self.step = Some(step);
        self
    }

    /// What to branch on.
    #[must_use]
    pub fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// What happened, for whoever sent the request.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The index of the entry that fails, if one does.
    #[must_use]
    pub fn entry(&self) -> Option<usize> {
        self.entry
    }

    /// The step of the verification that fails, if one does.
    #[must_use]
    pub fn step(&self) -> Option<Step> {
        self.step
    }

    /// The answer to a request with these headers.
    pub(crate) fn answer(&self, to: &HeaderMap) -> Response<Bytes> {
        tracing::debug!(target: "kest", problem = self.kind.name(), detail = %self.detail, "A request was refused");
        if is_grpc(to) { self.grpc() } else { self.http() }
    }

    fn http(&self) -> Response<Bytes> {
        let Told(name, title, status, _) = self.kind.told();
        let mut members = Map::new();
        members.insert("type".into(), format!("urn:kest:problem:{name}").into());
        members.insert("title".into(), title.into());
        members.insert("status".into(), status.as_u16().into());
        members.insert("detail".into(), self.detail.clone().into());
        if let Some(entry) = self.entry {
            members.insert("entry".into(), entry.into());
        }
        if let Some(step) = self.step {
            members.insert("step".into(), step.as_str().into());
        }
        let mut response = Response::new(Bytes::from(Value::Object(members).to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = self.kind.challenge() {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }

    /// Trailers only: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses>.
    fn grpc(&self) -> Response<Bytes> {
        // `Status-Message`: printable ASCII but `%`; the rest percent-encoded.
        const UNQUOTED: &AsciiSet = &CONTROLS.add(b'%');
        let Told(name, title, _, code) = self.kind.told();
        let text = format!("{title} ({name}): {}", self.detail);
        let message = utf8_percent_encode(&text, UNQUOTED).to_string();
        let mut response = Response::new(Bytes::new());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from(u16::from(code)));
        if let Ok(message) = HeaderValue::from_str(&message) {
            headers.insert("grpc-message", message);
        }
        response
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}

/// `application/grpc`, `application/grpc+proto`, … but not `application/grpc-web`, which is no trailers-only protocol.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()) else { return false };
    kind.strip_prefix("application/grpc").is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
}
