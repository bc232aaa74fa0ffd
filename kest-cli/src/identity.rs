//! The identity of this process, asked for within a time limit.

#[cfg(feature = "spire")]
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
#[cfg(feature = "spire")]
use std::task::{Context, Poll, Wake};
use std::thread;
use std::time::{Duration, Instant};

use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::identity::{IdentityProvider, OidcSubject};
use kest_core::keys::Jwks;
use kest_providers::identity::detect::{self, Candidate, Detected, Detection};

#[cfg(feature = "spire")]
use crate::text;

/// How long a platform may take to answer, in all. Spec §14.
const LIMIT: Duration = Duration::from_secs(5);
/// The providers give up after the same time, and know better what they waited for.
const LAST_WORD: Duration = Duration::from_millis(500);

/// What a platform says of this process.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) candidate: Candidate,
    pub(crate) workload_id: Arc<str>,
    pub(crate) keys: Jwks,
    pub(crate) oidc: Option<OidcSubject>,
    pub(crate) expires_at_ms: Option<u64>,
}

impl Identity {
    /// Connects, and asks.
    ///
    /// # Errors
    /// When the platform gives no identity.
    pub(crate) fn of(detected: Detected) -> Result<Self, IdentityError> {
        let candidate = detected.candidate();
        let (provider, expires_at_ms): (Arc<dyn IdentityProvider>, _) = match detected {
            #[cfg(feature = "spire")]
            Detected::Spire(provider) => {
                let expires_at_ms = block_on(provider.get_svid())?.expires_at_ms();
                (Arc::new(provider), Some(expires_at_ms))
            }
            #[cfg(feature = "oidc")]
            Detected::Oidc(provider) => {
                provider.workload_id()?;
                let expires_at_ms = provider.expires_at_ms();
                (Arc::new(provider), expires_at_ms)
            }
            other => (other.into_provider(), None),
        };
        let workload_id = provider.workload_id()?;
        let keys = provider.public_keys()?;
        let oidc = provider.attributes().and_then(|attributes| attributes.oidc.clone());
        Ok(Self { candidate, workload_id, keys, oidc, expires_at_ms })
    }
}

/// The trust bundles of one's own and of the federated trust domains, as JSON on one line.
///
/// # Errors
/// When the platform gives none.
#[cfg(feature = "spire")]
pub(crate) fn bundles(detected: Detected) -> Result<String, IdentityError> {
    match detected {
        Detected::Spire(provider) => {
            Ok(format!("{}\n", text::json(&block_on(provider.trust_bundles())?.to_json().to_string())))
        }
        other => Err(no_bundles(other.candidate())),
    }
}

/// As with the feature: nobody has them.
///
/// # Errors
/// Always.
#[cfg(not(feature = "spire"))]
pub(crate) fn bundles(detected: Detected) -> Result<String, IdentityError> {
    Err(no_bundles(detected.candidate()))
}

fn no_bundles(candidate: Candidate) -> IdentityError {
    let message = format!("a `{candidate}` identity has no trust bundle");
    IdentityError::new(IdentityErrorKind::TrustDomain, message)
}

/// Whether a candidate's key is made by each process for itself, so that this one's is nobody else's.
pub(crate) fn has_key_of_its_process(candidate: Candidate) -> bool {
    match candidate {
        Candidate::Local | Candidate::Oidc => true,
        Candidate::Spire | Candidate::Bedrock | Candidate::Aws => false,
    }
}

/// How long all the questions of a command may take. What then still waits ends with the process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    begun: Instant,
    longest: Duration,
}

impl Limit {
    /// From now on, for as long as [`LIMIT`] says.
    pub(crate) fn begin() -> Self {
        Self { begun: Instant::now(), longest: LIMIT + LAST_WORD }
    }

    /// Probes: that reads files, and a file may be on a disk that does not answer.
    ///
    /// # Errors
    /// When there was no answer in time. No identity is an answer.
    pub(crate) fn detect(&self) -> Result<Detection, String> {
        self.run("the probes", || Ok(detect::detect()))
    }

    /// Asks the platform of a candidate.
    ///
    /// # Errors
    /// What `ask` returns, as text; or that there was no answer in time.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        candidate: Candidate,
        ask: impl FnOnce() -> Result<T, IdentityError> + Send + 'static,
    ) -> Result<T, String> {
        self.run(&format!("`{candidate}`"), ask)
    }

    fn run<T: Send + 'static>(
        &self,
        whom: &str,
        ask: impl FnOnce() -> Result<T, IdentityError> + Send + 'static,
    ) -> Result<T, String> {
        let (done, answer) = mpsc::sync_channel(1);
        thread::Builder::new()
            .spawn(move || {
                // Nobody waits any more if this fails.
                let _ = done.send(ask());
            })
            .map_err(|error| format!("no thread to connect on: {error}"))?;
        match answer.recv_timeout(self.longest.saturating_sub(self.begun.elapsed())) {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("{whom} gave no identity within {} seconds", self.longest.as_secs()))
            }
            Err(RecvTimeoutError::Disconnected) => Err(format!("asking {whom} panicked; please report it")),
        }
    }
}

/// Waits for a future on this thread. What the providers do runs on a thread of theirs, and wakes this one.
#[cfg(feature = "spire")]
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_ends_with_the_limit() {
        let (release, never) = mpsc::channel::<()>();
        let limit = Limit { begun: Instant::now(), longest: Duration::from_millis(50) };
        let endless = move || {
            // Until the test is over, or for good if it hangs.
            let _ = never.recv();
            Ok(())
        };
        let (told, outcome) = mpsc::channel();
        thread::spawn(move || told.send(limit.ask(Candidate::Spire, endless)));
        let error = outcome.recv_timeout(Duration::from_secs(30)).unwrap().unwrap_err();
        assert_eq!(error, "`spire` gave no identity within 0 seconds");
        drop(release);
    }

    #[test]
    fn the_limit_is_for_all_questions_together() {
        let (release, never) = mpsc::channel::<()>();
        let limit = Limit { begun: Instant::now(), longest: Duration::from_millis(50) };
        let first = limit.ask(Candidate::Oidc, move || {
            let _ = never.recv();
            Ok(())
        });
        assert!(first.is_err());
        // Nothing is left for a second one that takes any time.
        let (release_second, never) = mpsc::channel::<()>();
        let begun = Instant::now();
        let second = limit.run("the probes", move || {
            let _ = never.recv();
            Ok(())
        });
        assert_eq!(second.unwrap_err(), "the probes gave no identity within 0 seconds");
        assert!(begun.elapsed() < Duration::from_secs(10));
        drop((release, release_second));
    }

    #[test]
    fn answers_in_time_are_handed_on() {
        let limit = Limit::begin();
        assert_eq!(limit.ask(Candidate::Aws, || Ok(7)), Ok(7));
        let refused = || Err::<(), _>(IdentityError::new(IdentityErrorKind::Refused, "no"));
        assert_eq!(limit.ask(Candidate::Aws, refused), Err("no".to_owned()));
        let panicked = limit.ask::<()>(Candidate::Aws, || panic!("a defect"));
        assert_eq!(panicked, Err("asking `aws` panicked; please report it".to_owned()));
    }
}
