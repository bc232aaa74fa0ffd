//! What a provider holds, and what it makes of each update.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::text;
use spiffe::{JwtBundleSet, X509Context};
use tokio::sync::watch;

use super::bundle::Bundles;
use super::lane::Lane;
use super::settings::Settings;
use super::svid::X509Svid;
use super::trouble::Trouble;

/// What the stream's tasks write and everybody else reads.
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) x509: Lane<X509Svid>,
    pub(super) jwt: Lane<JwtBundleSet>,
    bundles: ArcSwapOption<Bundles>,
    /// Until when JWT authorities are believed: without their stream no longer than the SVID of that time lasts.
    jwt_believed_until_ms: AtomicU64,
    /// INVARIANT: once set it never changes, so that an entry's principal and its signature agree.
    id: OnceLock<Arc<str>>,
    rotations: watch::Sender<Option<Arc<X509Svid>>>,
    closed: AtomicBool,
    clock: fn() -> u64,
}

impl State {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            x509: Lane::new(),
            jwt: Lane::new(),
            bundles: ArcSwapOption::empty(),
            jwt_believed_until_ms: AtomicU64::new(u64::MAX),
            id: OnceLock::new(),
            rotations: watch::Sender::new(None),
            closed: AtomicBool::new(false),
            clock: system_clock,
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        (self.clock)()
    }

    /// The SPIFFE ID, once the agent has given one.
    pub(super) fn id(&self) -> Option<&Arc<str>> {
        self.id.get()
    }

    pub(super) fn rotations(&self) -> watch::Receiver<Option<Arc<X509Svid>>> {
        self.rotations.subscribe()
    }

    /// Calls `with` on the SVID, if there is one that has not expired. The hot path: nothing here waits.
    pub(super) fn with_svid<R>(
        &self,
        with: impl FnOnce(&Arc<X509Svid>) -> R,
    ) -> Result<Option<R>, IdentityError> {
        self.refuse_closed()?;
        let held = self.x509.load();
        match &*held {
            None => Ok(None),
            Some(svid) if self.now_ms() > svid.expires_at_ms() => Err(self.expired(svid)),
            Some(svid) => Ok(Some(with(svid))),
        }
    }

    /// The trust bundles, believed for as long as the agent's word on one's own identity is.
    pub(super) fn bundles(&self) -> Result<Option<Arc<Bundles>>, IdentityError> {
        match self.with_svid(|_| self.bundles.load_full())? {
            Some(bundles) => Ok(bundles),
            None => Ok(None),
        }
    }

    pub(super) fn refuse_closed(&self) -> Result<(), IdentityError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(shut_down());
        }
        Ok(())
    }

    /// Why there is no SVID, after it was waited for.
    pub(super) fn no_svid(&self) -> IdentityError {
        self.unavailable("SVID", self.x509.trouble())
    }

    /// Why there are no JWT authorities, after they were waited for.
    pub(super) fn no_jwt_bundles(&self) -> IdentityError {
        self.unavailable("JWT bundle", self.jwt.trouble())
    }

    /// From now on every call is refused.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Forgets all keys. What is in use elsewhere goes with its last user.
    pub(super) fn forget(&self) {
        let trouble = Trouble::settled(IdentityErrorKind::Missing, SHUT_DOWN);
        self.x509.clear(trouble.clone());
        self.jwt.clear(trouble);
        self.bundles.store(None);
        self.rotations.send_replace(None);
    }

    /// Takes over an update of the X.509 stream. Whether it brought a usable SVID is given back.
    pub(super) fn accept_x509(&self, update: &X509Context) -> bool {
        // Whom to trust is taken over in any case: an authority that was withdrawn must not be believed any longer.
        self.bundles.store(Some(Arc::new(Bundles::new(update.bundle_set()))));
        match self.choose(update) {
            Ok(svid) => {
                self.rotate(svid);
                true
            }
            Err(trouble) => {
                if self.x509.fail(trouble.clone()) {
                    tracing::warn!(target: "kest", "an update of the SPIRE agent brought no usable SVID: {}", trouble.message);
                }
                false
            }
        }
    }

    pub(super) fn accept_jwt(&self, update: JwtBundleSet) {
        self.jwt_believed_until_ms.store(u64::MAX, Ordering::Release);
        self.jwt.hold(Arc::new(update));
    }

    pub(super) fn lose_jwt(&self) {
        let expires = self.x509.load().as_ref().map_or(0, |svid| svid.expires_at_ms());
        self.jwt_believed_until_ms.fetch_min(expires, Ordering::AcqRel);
    }

    /// The JWT authorities, if the agent has sent any that are still to be believed.
    pub(super) fn jwt_bundles(&self) -> Option<Arc<JwtBundleSet>> {
        let believed_until = self.jwt_believed_until_ms.load(Ordering::Acquire);
        if self.now_ms() > believed_until { None } else { self.jwt.load().as_ref().map(Arc::clone) }
    }

    /// How long until the SVID expires, if there is one.
    pub(super) fn until_expiry(&self) -> Option<Duration> {
        let held = self.x509.load();
        let expires = held.as_ref()?.expires_at_ms();
        // One millisecond more, so that it has expired when the time is up.
        Some(Duration::from_millis(expires.saturating_sub(self.now_ms()).saturating_add(1)))
    }

    fn choose(&self, update: &X509Context) -> Result<X509Svid, Trouble> {
        let svids = update.svids();
        let hint = self.settings.hint.as_deref();
        let hinted = |svid: &spiffe::X509Svid| hint.is_none_or(|hint| svid.hint() == Some(hint));
        let chosen = match self.id() {
            // An id that was given out stays: of its SVIDs the one with the hint, else any.
            Some(id) => {
                let own = || svids.iter().filter(|svid| svid.spiffe_id().to_string() == **id);
                own()
                    .find(|svid| hinted(svid))
                    .or_else(|| own().next())
                    .ok_or_else(|| other_ids(id, svids))?
            }
            None => svids.iter().find(|svid| hinted(svid)).ok_or_else(|| no_such_hint(hint, svids))?,
        };
        let svid =
            X509Svid::new(chosen).map_err(|error| Trouble::settled(error.kind(), error.to_string()))?;
        if self.now_ms() > svid.expires_at_ms() {
            let message =
                "the SVID that the agent sent has expired already; check the clocks of agent and server";
            return Err(Trouble::settled(IdentityErrorKind::SvidExpired, message));
        }
        Ok(svid)
    }

    fn rotate(&self, svid: X509Svid) {
        let id = self.id.get_or_init(|| svid.shared_id());
        let new = Arc::new(svid);
        let interrupted = self.x509.trouble().is_some();
        let old = self.x509.hold(Arc::clone(&new));
        let first = old.is_none();
        match old {
            None => {
                tracing::info!(target: "kest", id = %id, expires_at_ms = new.expires_at_ms(), "SVID received")
            }
            // The same SVID comes again when only the bundles have changed, or the agent was asked again.
            Some(old) if old.chain() == new.chain() => {}
            Some(_) => {
                let expires_at_ms = new.expires_at_ms();
                self.rotations.send_replace(Some(new));
                tracing::info!(target: "kest", id = %id, expires_at_ms, "SVID rotated");
            }
        }
        if interrupted && !first {
            tracing::info!(target: "kest", id = %id, "the SPIRE agent answers again");
        }
    }

    fn expired(&self, svid: &X509Svid) -> IdentityError {
        let ago = self.now_ms().saturating_sub(svid.expires_at_ms()) / 1_000;
        let last = self.x509.trouble().map_or_else(
            || "the agent has sent no other".to_owned(),
            |trouble| format!("the agent's last answer: {}", trouble.message),
        );
        let message = format!(
            "the SVID of {} expired {ago} s ago and was not renewed by the agent at {} ({last})",
            text::id(svid.spiffe_id(), 200),
            text::field(&self.settings.address, 200),
        );
        IdentityError::new(IdentityErrorKind::SvidExpired, message)
    }

    fn unavailable(&self, what: &str, trouble: Option<Arc<Trouble>>) -> IdentityError {
        let trouble = trouble.map_or_else(Trouble::no_answer, |trouble| (*trouble).clone());
        let address = text::field(&self.settings.address, 200);
        trouble.into_error(format_args!("no {what} from the SPIFFE Workload API at {address}"))
    }
}

const SHUT_DOWN: &str = "this SPIRE provider was shut down; make a new one";

pub(super) fn shut_down() -> IdentityError {
    IdentityError::new(IdentityErrorKind::Missing, SHUT_DOWN)
}

fn other_ids(id: &str, svids: &[Arc<spiffe::X509Svid>]) -> Trouble {
    let message = format!(
        "the agent now offers {}, but this process has been {} so far; restart it to take on another identity",
        list(svids.iter().map(|svid| text::id(&svid.spiffe_id().to_string(), 200))),
        text::id(id, 200)
    );
    Trouble::settled(IdentityErrorKind::Missing, message)
}

fn no_such_hint(hint: Option<&str>, svids: &[Arc<spiffe::X509Svid>]) -> Trouble {
    let offered = list(svids.iter().filter_map(|svid| svid.hint()).map(|hint| text::field(hint, 100)));
    let message = match hint {
        Some(hint) => format!(
            "no SVID has the hint {}; the agent offers {offered}: set one of these, or none to take the first",
            text::field(hint, 100)
        ),
        None => "the agent sent no SVID".to_owned(),
    };
    Trouble::settled(IdentityErrorKind::Missing, message)
}

fn list(items: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 8;
    let mut items: Vec<String> = items.take(SHOWN + 1).collect();
    if items.is_empty() {
        return "none".to_owned();
    }
    if items.len() > SHOWN {
        items.truncate(SHOWN);
        items.push("more".to_owned());
    }
    items.join(", ")
}

fn system_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;

    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, IsCa, KeyPair, KeyUsagePurpose, SanType};
    use spiffe::X509BundleSet;

    use super::*;

    thread_local! {
        static NOW_MS: Cell<u64> = const { Cell::new(0) };
    }

    const EXPIRES_MS: u64 = 1_900_000_000_000;

    /// A state whose clock stands where the test puts it, and the only SVID it will be sent.
    pub(in super::super) fn state() -> (State, X509Context) {
        NOW_MS.set(EXPIRES_MS - 1);
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(Ia5String::try_from("spiffe://own.test/a").unwrap())];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.not_after = time::OffsetDateTime::from_unix_timestamp(1_900_000_000).unwrap();
        let leaf = params.self_signed(&key).unwrap();
        let svid = spiffe::X509Svid::parse_from_der(leaf.der(), &key.serialize_der()).unwrap();
        let update = X509Context::new([Arc::new(svid)], X509BundleSet::new());
        let settings = Settings {
            endpoint: spiffe::transport::Endpoint::parse("unix:///nowhere").unwrap(),
            address: "unix:///nowhere".into(),
            hint: None,
            tls_min_version: crate::identity::spire::TlsMinVersion::V1_3,
            // Longer than a builder allows: whoever waits must not overflow.
            initial_timeout: Duration::MAX,
        };
        (State { clock: || NOW_MS.get(), ..State::new(settings) }, update)
    }

    /// The same, with an SVID that has expired since.
    pub(in super::super) fn expired() -> State {
        let (state, update) = state();
        assert!(state.accept_x509(&update));
        NOW_MS.set(EXPIRES_MS + 1);
        state
    }

    #[test]
    fn an_svid_is_good_to_its_last_moment_and_no_longer() {
        let (state, update) = state();
        assert!(state.accept_x509(&update));
        for (now, good) in [(EXPIRES_MS, true), (EXPIRES_MS + 1, false), (u64::MAX, false), (0, true)] {
            NOW_MS.set(now);
            match state.with_svid(|svid| svid.expires_at_ms()) {
                Ok(expires) => assert!(good && expires == Some(EXPIRES_MS), "{now}"),
                Err(error) => assert!(!good && error.kind() == IdentityErrorKind::SvidExpired, "{now}"),
            }
            assert_eq!(state.bundles().is_ok(), good, "{now}");
        }
    }

    #[test]
    fn an_expired_svid_is_not_taken_over() {
        let (state, update) = state();
        NOW_MS.set(EXPIRES_MS + 1);
        assert!(!state.accept_x509(&update));
        assert_eq!(state.no_svid().kind(), IdentityErrorKind::SvidExpired);
        assert!(state.id().is_none());
        NOW_MS.set(EXPIRES_MS);
        assert!(state.accept_x509(&update));
    }

    #[test]
    fn jwt_authorities_without_their_stream_last_as_long_as_the_svid() {
        let (state, update) = state();
        assert!(state.accept_x509(&update));
        state.accept_jwt(JwtBundleSet::new());
        NOW_MS.set(EXPIRES_MS + 1);
        assert!(state.jwt_bundles().is_some(), "the stream is open");
        state.lose_jwt();
        assert!(state.jwt_bundles().is_none());
        NOW_MS.set(EXPIRES_MS);
        assert!(state.jwt_bundles().is_some());
        NOW_MS.set(EXPIRES_MS + 1);
        state.accept_jwt(JwtBundleSet::new());
        assert!(state.jwt_bundles().is_some(), "the stream is open again");
    }

    #[test]
    fn what_is_forgotten_is_gone() {
        let (state, update) = state();
        assert!(state.accept_x509(&update));
        let held = Arc::downgrade(&state.x509.load().as_ref().map(Arc::clone).unwrap());
        state.close();
        state.forget();
        assert!(held.upgrade().is_none(), "somebody keeps the key");
        assert_eq!(state.with_svid(|_| ()).unwrap_err().kind(), IdentityErrorKind::Missing);
    }
}
