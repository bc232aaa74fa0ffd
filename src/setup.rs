//! The process-wide default, with the identity that the platform gives where none is named. Spec §10, §15.

use std::sync::{Arc, Mutex, PoisonError};

use kest_core::Kest;
use kest_core::error::{ConfigurationError, ConfigurationErrorKind};
use kest_providers::identity::detect::get_default_identity;

/// Sets the process-wide default, once. A `Kest` that was built without an identity is set with the one that the
/// platform gives, as [`get_default_identity`] finds it; which one, and why, is logged under the target `kest`. Clones
/// of it stay without: calls in their scopes sign with the identity around them, which may be this one.
///
/// Nothing connects here: a SPIRE agent may come later than the program.
///
/// Where the configuration names an audit sink and none was given, it is opened, for the `Kest` and its clones.
///
/// ```no_run
/// use kest::policy::MockPolicyEngine;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let kest = kest::Kest::builder()
///     .engine(MockPolicyEngine::allow()) // in a service: RegoEngine::from_dir("policies")?
///     .without_config()
///     .build()?;
/// kest::configure(kest)?;
/// assert!(kest::get_active_identity().is_some());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When there is one already ([`reconfigure`] replaces it). `MissingIdentity` when there is no identity to be had; its
/// `source()` is the [`IdentityError`](kest_core::error::IdentityError). `Audit` when the audit sink cannot be opened.
pub fn configure(kest: Kest) -> Result<(), ConfigurationError> {
    let _one_at_a_time = SETTING.lock().unwrap_or_else(PoisonError::into_inner);
    // Whoever comes second is told so, whatever the platform gives.
    if kest_core::global().is_none() {
        let kest = detect(kest)?;
        open_audit(&kest)?;
        return kest_core::configure(kest);
    }
    kest_core::configure(kest)
}

/// Sets or replaces the process-wide default, with an identity and an audit sink as [`configure`] finds them. Where the
/// one that is replaced has the same store open, its sink goes on.
///
/// # Errors
/// When there is no identity to be had, or the audit sink cannot be opened. What was set before then stays.
pub fn reconfigure(kest: Kest) -> Result<(), ConfigurationError> {
    let _one_at_a_time = SETTING.lock().unwrap_or_else(PoisonError::into_inner);
    let kest = detect(kest)?;
    open_audit(&kest)?;
    kest_core::reconfigure(kest)
}

/// Else two that come together would both open the audit store, and one be told of the other's lock.
static SETTING: Mutex<()> = Mutex::new(());

fn open_audit(kest: &Kest) -> Result<(), ConfigurationError> {
    let config = kest.config();
    if config.audit.sink.is_none() || kest.audit().is_some() {
        return Ok(());
    }
    // A store has one writer: the global one's, if that is the same store.
    let same = kest_core::global().filter(|global| {
        let other = global.config();
        other.audit == config.audit && other.audit_path() == config.audit_path()
    });
    let sink = match same.as_ref().and_then(Kest::audit) {
        Some(sink) => Some(Arc::clone(sink)),
        None => kest_providers::audit::open(config).map_err(|error| {
            ConfigurationError::new(
                ConfigurationErrorKind::Audit,
                format!("the audit sink cannot be opened: {error}"),
            )
            .with_source(error)
        })?,
    };
    if let Some(sink) = sink {
        kest.open_audit(sink);
    }
    Ok(())
}

fn detect(kest: Kest) -> Result<Kest, ConfigurationError> {
    if kest.identity().is_some() {
        return Ok(kest);
    }
    match get_default_identity() {
        Ok(identity) => Ok(kest.with_identity(identity)),
        Err(error) => {
            let message = format!("no identity was named, and none could be detected: {error}");
            Err(ConfigurationError::new(ConfigurationErrorKind::MissingIdentity, message).with_source(error))
        }
    }
}
