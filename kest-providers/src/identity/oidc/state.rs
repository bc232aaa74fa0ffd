//! The token that counts, and its renewal.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::identity::{IdentityAttributes, OidcSubject};
use kest_core::jws::Jws;
use kest_core::keys::Jwks;
use kest_core::text::Quoted;
use once_cell::sync::OnceCell;
use parking_lot::Mutex;
use reqwest::Certificate;
use sha2::{Digest, Sha256};

use super::check::signed_claims;
use super::claims::{self, Audience, Claims};
use super::failure::Failure;
use super::source::TokenSource;
use super::token::Unchecked;
use crate::bridge;
use crate::file::Reader;
use crate::identity::ephemeral::EphemeralKey;
use crate::jwks::{Flight, Issuer, Limits, Place, Remote};

/// How often the source is looked at, in milliseconds.
const LOOK_EVERY: u64 = 1_000;

/// Everything of an identity that background work needs too.
pub(super) struct Shared {
    source: TokenSource,
    reader: Reader,
    /// Whose tokens count; `None`: those of the issuer that the first token names.
    issuer: Option<Arc<Keys>>,
    timeout: Duration,
    roots: Vec<Certificate>,
    audience: Audience,
    leeway: Duration,
    key: EphemeralKey,
    thumbprint: String,
    /// INVARIANT: set once, from the first good token; never another issuer or subject.
    attributes: OnceCell<IdentityAttributes>,
    /// The keys of the token's own issuer, where none is configured.
    found: Mutex<Option<Arc<Keys>>>,
    // INVARIANT: readers never wait for a renewal.
    state: ArcSwap<State>,
    started: Instant,
    next_look: AtomicU64,
    flight: Flight<Result<(), Failure>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcIdentity")
            .field("source", &self.source)
            .field("issuer", &self.issuer.as_ref().map(|keys| &keys.issuer))
            .field("audience", &self.audience)
            .field("oidc", &self.attributes().and_then(|attributes| attributes.oidc.as_ref()))
            .field("expires_at_ms", &self.expires_at_ms())
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// An issuer and its keys.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) issuer: String,
    pub(super) remote: Remote,
}

#[derive(Clone, Debug, Default)]
struct State {
    good: Option<Good>,
    /// The platform says that the workload is somebody else.
    refused: Option<Failure>,
    /// What was last logged, so that it is said once.
    warned: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
struct Good {
    digest: [u8; 32],
    good_before: u64,
    expires: u64,
}

/// What a builder gives.
pub(super) struct Settings {
    pub(super) source: TokenSource,
    pub(super) issuer: Option<Keys>,
    pub(super) timeout: Duration,
    pub(super) roots: Vec<Certificate>,
    pub(super) audience: Audience,
    pub(super) leeway: Duration,
}

impl Shared {
    pub(super) fn new(settings: Settings) -> Result<Self, IdentityError> {
        let Settings { source, issuer, timeout, roots, audience, leeway } = settings;
        let key = EphemeralKey::generate()?;
        let thumbprint = key.public_keys().0.first().map(|key| key.thumbprint()).unwrap_or_default();
        Ok(Self {
            source,
            reader: Reader::default(),
            issuer: issuer.map(Arc::new),
            timeout,
            roots,
            audience,
            leeway,
            key,
            thumbprint,
            attributes: OnceCell::new(),
            found: Mutex::new(None),
            state: ArcSwap::from_pointee(State::default()),
            started: Instant::now(),
            next_look: AtomicU64::new(LOOK_EVERY),
            flight: Flight::new(),
        })
    }

    /// What is known without waiting: the identity, or that it is refused. `None`: a token must be read first.
    ///
    /// Once a second it has the source looked at, in the background.
    pub(super) fn at_hand(self: &Arc<Self>) -> Option<Result<&IdentityAttributes, IdentityError>> {
        let state = self.state.load();
        if let Some(failure) = &state.refused {
            self.look_again();
            return Some(Err(failure.clone().into()));
        }
        let good = state.good.as_ref()?;
        if claims::now() >= good.good_before {
            return None;
        }
        self.look_again();
        self.attributes.get().map(Ok)
    }

    /// [`Self::at_hand`] after a renewal that went well.
    pub(super) fn now_known(self: &Arc<Self>) -> Result<&IdentityAttributes, IdentityError> {
        self.at_hand().unwrap_or_else(|| Err(self.expired(None).into()))
    }

    pub(super) fn attributes(&self) -> Option<&IdentityAttributes> {
        self.attributes.get()
    }

    pub(super) fn subject(&self) -> Result<Arc<str>, IdentityError> {
        let oidc = self.attributes.get().and_then(|attributes| attributes.oidc.as_ref());
        oidc.map(|oidc| Arc::clone(&oidc.subject)).ok_or_else(|| {
            IdentityError::new(IdentityErrorKind::Missing, format!("{} has not been read", self.source))
        })
    }

    pub(super) fn expires_at_ms(&self) -> Option<u64> {
        self.state.load().good.as_ref().map(|good| good.expires.saturating_mul(1_000))
    }

    pub(super) fn sign(&self, payload: &[u8]) -> Result<Jws, IdentityError> {
        self.key.sign(payload)
    }

    pub(super) fn public_keys(&self) -> Jwks {
        self.key.public_keys()
    }

    pub(super) fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Reads and checks the token, together with all who want that now.
    pub(super) async fn renew(self: &Arc<Self>) -> Result<(), Failure> {
        self.flight.join(|| self.renew_alone()).await
    }

    /// Reads and checks the token as it is now.
    pub(super) async fn renew_anew(self: &Arc<Self>) -> Result<(), Failure> {
        self.flight.anew(|| self.renew_alone()).await
    }

    fn look_again(self: &Arc<Self>) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let due = self.next_look.load(Ordering::Relaxed);
        let next = now.saturating_add(LOOK_EVERY);
        let mine = now >= due
            && self.next_look.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if !mine {
            return;
        }
        // Without a bridge nothing is renewed: the token counts until it expires, and then that is the error.
        if let Ok(handle) = bridge::handle() {
            let shared = Arc::clone(self);
            drop(handle.spawn(async move {
                // Failures are logged where they happen.
                let _ = shared.flight.alone(|| shared.renew_alone()).await;
            }));
        }
    }

    async fn renew_alone(&self) -> Result<(), Failure> {
        let read = match self.source.read(&self.reader, self.timeout).await {
            Ok(token) => {
                let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
                let same = |good: &Good| good.digest == digest;
                if self.state.load().good.as_ref().is_some_and(same) {
                    return self.unchanged();
                }
                self.check(&token).await.map(|claims| (digest, claims))
            }
            Err(failure) => Err(failure),
        };
        match read {
            Ok((digest, claims)) => self.take(digest, &claims),
            Err(failure) => Err(self.keep(failure)),
        }
    }

    /// The source still has the token that counted last.
    fn unchanged(&self) -> Result<(), Failure> {
        let state = self.state.load_full();
        if state.refused.is_some() {
            self.state.store(Arc::new(State { good: state.good.clone(), ..State::default() }));
        }
        let expired = state.good.as_ref().is_none_or(|good| claims::now() >= good.good_before);
        if expired { Err(self.expired(None)) } else { Ok(()) }
    }

    async fn check(&self, token: &str) -> Result<Claims, Failure> {
        let unchecked = Unchecked::parse(token)?;
        let keys = self.keys_of(unchecked.issuer()?)?;
        let claims = signed_claims(&unchecked, &keys.issuer, &keys.remote, self.leeway).await?;
        claims.is_for(&self.audience, &self.thumbprint)?;
        Ok(claims)
    }

    /// The keys of the issuer whose tokens count, if it is this one. Others are not even asked for theirs.
    fn keys_of(&self, issuer: &str) -> Result<Arc<Keys>, Failure> {
        let pinned = self.attributes().and_then(|attributes| attributes.oidc.as_ref());
        let expected = match (&self.issuer, pinned) {
            (Some(keys), _) => &*keys.issuer,
            (None, Some(known)) => &*known.issuer,
            (None, None) => issuer,
        };
        if issuer != expected {
            return Err(Failure::untrusted(format!(
                "the token is from issuer {}, not from {}",
                Quoted(issuer),
                Quoted(expected)
            )));
        }
        if let Some(keys) = &self.issuer {
            return Ok(Arc::clone(keys));
        }
        let mut found = self.found.lock();
        if let Some(keys) = found.as_ref().filter(|keys| keys.issuer == issuer) {
            return Ok(Arc::clone(keys));
        }
        let limits = Limits { timeout: self.timeout, ..Limits::default() };
        let remote = Remote::new(Place::Issuer(Issuer::parse(issuer)?), limits, self.roots.clone());
        let keys = Arc::new(Keys { issuer: issuer.to_owned(), remote });
        *found = Some(Arc::clone(&keys));
        Ok(keys)
    }

    /// A good token: it counts from now on, unless it speaks of somebody else.
    fn take(&self, digest: [u8; 32], claims: &Claims) -> Result<(), Failure> {
        let attributes = self.attributes.get_or_init(|| IdentityAttributes {
            oidc: Some(OidcSubject {
                issuer: Arc::clone(&claims.issuer),
                subject: Arc::clone(&claims.subject),
            }),
            ..IdentityAttributes::default()
        });
        // INVARIANT: the issuer is the same: `keys_of` lets no other through.
        let same = attributes.oidc.as_ref().is_some_and(|known| known.subject == claims.subject);
        if same {
            let good = Good { digest, good_before: claims.good_before, expires: claims.expires };
            self.state.store(Arc::new(State { good: Some(good), ..State::default() }));
            return Ok(());
        }
        let known = attributes.oidc.as_ref().map_or("", |known| &known.subject);
        let failure = Failure::new(
            IdentityErrorKind::Refused,
            format!(
                "{} now speaks of {}, no longer of {}; an identity never changes: restart the workload, or give \
                 the old token back",
                self.source,
                Quoted(&claims.subject),
                Quoted(known)
            ),
        );
        let old = self.state.load_full();
        self.warn(&State { refused: Some(failure.clone()), ..State::clone(&old) }, &failure);
        Err(failure)
    }

    /// No good token: the last one counts until it expires.
    fn keep(&self, failure: Failure) -> Failure {
        let state = self.state.load_full();
        match &state.good {
            Some(good) if claims::now() < good.good_before => {
                self.warn(&state, &failure);
                failure
            }
            Some(_) => self.expired(Some(&failure)),
            None => failure,
        }
    }

    fn warn(&self, state: &State, failure: &Failure) {
        let text: Arc<str> = failure.to_string().into();
        if state.warned.as_ref() != Some(&text) {
            tracing::warn!(target: "kest", error = %failure, "The OpenID Connect token could not be renewed");
        }
        self.state.store(Arc::new(State { warned: Some(text), ..state.clone() }));
    }

    fn expired(&self, why: Option<&Failure>) -> Failure {
        let message = match why {
            Some(why) if why.kind() != IdentityErrorKind::SvidExpired => {
                format!("{} has expired, and there is no new one: {why}", self.source)
            }
            Some(_) | None => {
                format!("{} has expired; check that the platform renews it", self.source)
            }
        };
        Failure::new(IdentityErrorKind::SvidExpired, message)
    }
}
