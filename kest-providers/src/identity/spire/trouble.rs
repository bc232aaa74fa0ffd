//! What the agent answered instead of what was asked for.

use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::text;
use spiffe::WorkloadApiError;
use spiffe::transport::TransportError;

/// Why there is nothing newer than what is held. It becomes an error only where nothing is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) kind: IdentityErrorKind,
    /// What happened, and what can be done about it.
    pub(super) message: String,
    /// Whether waiting is pointless: the agent has answered, and will say so by itself when it has something else.
    pub(super) settled: bool,
}

impl Trouble {
    pub(super) fn connection(message: impl Into<String>) -> Self {
        Self { kind: IdentityErrorKind::Connection, message: message.into(), settled: false }
    }

    /// The agent has answered, and what it sent cannot be used.
    pub(super) fn settled(kind: IdentityErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), settled: true }
    }

    pub(super) fn no_answer() -> Self {
        Self::connection(format!("the agent did not answer in time; {CHECK_AGENT}"))
    }

    pub(super) fn ended() -> Self {
        Self::connection(format!("the agent closed the stream; {CHECK_AGENT}"))
    }

    /// The SVID expired while its stream was open.
    pub(super) fn silent() -> Self {
        Self::connection(format!("the agent let the SVID expire without a word; {CHECK_AGENT}"))
    }

    /// What asked the agent panicked. It starts anew.
    pub(super) fn panicked() -> Self {
        Self::connection("a task on kest's network thread panicked; please report it")
    }

    pub(super) fn into_error(self, context: impl std::fmt::Display) -> IdentityError {
        IdentityError::new(self.kind, format!("{context}: {}", self.message))
    }
}

const CHECK_AGENT: &str = "check that the SPIRE agent runs and that its socket is the one given";

impl Trouble {
    pub(super) fn from_api(error: &WorkloadApiError) -> Self {
        // What comes from outside, a status message above all, is escaped and cut.
        let said = text::message(&with_causes(error));
        match error {
            // SPIFFE Workload API §5.2.1: whoever is entitled to no SVID gets `PermissionDenied`.
            WorkloadApiError::NoIdentityIssued | WorkloadApiError::PermissionDenied(_) => Self {
                kind: IdentityErrorKind::Missing,
                message: format!(
                    "the agent has no identity for this process ({said}); register it with `spire-server entry create`, \
                     and compare the selectors with what `spire-agent api watch` sees"
                ),
                settled: false,
            },
            WorkloadApiError::Transport(_) => Self::connection(format!("{said}; {CHECK_AGENT}")),
            _ => Self::connection(format!(
                "the agent's answer cannot be used: {said}; check the agent's version and log"
            )),
        }
    }
}

/// An error and what caused it. None of them carries bytes of an answer.
fn with_causes(error: &WorkloadApiError) -> String {
    let mut said = error.to_string();
    let mut next = match error {
        // What causes a status is the status again, in another library's words.
        WorkloadApiError::Transport(TransportError::Status(_)) => None,
        other => std::error::Error::source(other),
    };
    while let Some(cause) = next {
        let cause_said = cause.to_string();
        if !said.contains(&cause_said) {
            said.push_str(": ");
            said.push_str(&cause_said);
        }
        next = cause.source();
    }
    said
}
