//! The process-wide default, with the identity that the platform gives where none is named. Spec §10, §15.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use kest_core::Kest;
use kest_core::audit::AuditSink;
use kest_core::config::Audit;
use kest_core::error::{AuditErrorKind, ConfigurationError, ConfigurationErrorKind};
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
    let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
    // Whoever comes second is told so, whatever the platform gives.
    if kest_core::global().is_none() {
        let kest = detect(kest)?;
        open_audit(&kest, &mut stores)?;
        return kest_core::configure(kest);
    }
    kest_core::configure(kest)
}

/// Sets or replaces the process-wide default, with an identity and an audit sink as [`configure`] finds them. A store
/// that one of these two has opened and some `Kest` still holds is gone on with. It keeps the settings of `[audit]` that
/// it was opened with; `sign_denials` and `denials_per_second` are the `Kest`'s own and may change.
///
/// # Errors
/// When there is no identity to be had, or the audit sink cannot be opened; when `[audit]` has other settings for a store
/// that is open. What was set before then stays.
pub fn reconfigure(kest: Kest) -> Result<(), ConfigurationError> {
    let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
    let kest = detect(kest)?;
    open_audit(&kest, &mut stores)?;
    kest_core::reconfigure(kest)
}

/// What was opened here; also one at a time, else two that come together would both open a store, and one be told of the
/// other's lock.
static STORES: Mutex<Vec<Opened>> = Mutex::new(Vec::new());

/// A store that a configuration named, and its sink as long as some `Kest` holds it. A sink that somebody gave to a
/// `Kest` is none of these, whatever the configuration of that one says.
struct Opened {
    path: PathBuf,
    audit: Audit,
    sink: Weak<dyn AuditSink>,
}

fn open_audit(kest: &Kest, stores: &mut Vec<Opened>) -> Result<(), ConfigurationError> {
    let config = kest.config();
    let (Some(path), None) = (config.audit_path(), kest.audit()) else { return Ok(()) };
    let refused = |message: String| ConfigurationError::new(ConfigurationErrorKind::Audit, message);
    stores.retain(|store| store.sink.strong_count() > 0);
    let known = whole(&path);
    let open = stores.iter().find(|store| store.path == known);
    if let Some((store, sink)) = open.and_then(|store| Some((store, store.sink.upgrade()?))) {
        if let Some(setting) = differing(&store.audit, &config.audit) {
            return Err(refused(format!(
                "`[audit]` has another `{setting}` for the store `{}`, which is open and keeps the settings that it was \
                 opened with; start the process anew, or let go of every `Kest` that has it (`kest::clear`) before the \
                 next one is configured",
                path.display()
            )));
        }
        kest.open_audit(sink);
        return Ok(());
    }
    let opened = kest_providers::audit::open(config).map_err(|error| {
        let advice = match error.kind() {
            AuditErrorKind::Locked => {
                "; if it was opened in code, give the `Kest` that sink with `.audit(sink)`"
            }
            _ => "",
        };
        refused(format!("the audit sink cannot be opened: {error}{advice}")).with_source(error)
    })?;
    if let Some(sink) = opened {
        // Now that it exists it has one name, however it is called.
        let (path, audit) = (whole(&path), config.audit.clone());
        stores.push(Opened { path, audit, sink: Arc::downgrade(&sink) });
        kest.open_audit(sink);
    }
    Ok(())
}

fn whole(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

/// The first setting of a sink in which two sections differ.
fn differing(open: &Audit, wanted: &Audit) -> Option<&'static str> {
    let Audit {
        sink,
        // Two ways to write the same one.
        path: _,
        durability,
        rotate_bytes,
        rotate_age,
        retain_files,
        retain_age,
        max_bytes,
        timeout,
        // These are looked at by the `Kest`.
        sign_denials: _,
        denials_per_second: _,
    } = wanted;
    let settings = [
        ("sink", *sink != open.sink),
        ("durability", *durability != open.durability),
        ("rotate_bytes", *rotate_bytes != open.rotate_bytes),
        ("rotate_age", *rotate_age != open.rotate_age),
        ("retain_files", *retain_files != open.retain_files),
        ("retain_age", *retain_age != open.retain_age),
        ("max_bytes", *max_bytes != open.max_bytes),
        ("timeout", *timeout != open.timeout),
    ];
    settings.into_iter().find_map(|(name, differs)| differs.then_some(name))
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
