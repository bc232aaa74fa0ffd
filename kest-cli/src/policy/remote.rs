//! Servers that hold policies: what they have, asked within bounds.

#[cfg(feature = "avp")]
mod avp;
#[cfg(feature = "opa")]
mod opa;
#[cfg(feature = "opa")]
mod rego;

use std::path::PathBuf;

use clap::Args;
use kest_core::policy::PolicyEngine;
use serde::Serialize;

use super::lock::Lock;
#[cfg(any(feature = "opa", feature = "avp"))]
use super::lock::digest_of;
use crate::input::Unusable;

/// The policies of a server.
#[derive(Debug, Default)]
pub(crate) struct Remote {
    pub(crate) lock: Lock,
    pub(crate) skipped: Vec<Skipped>,
}

/// A policy of a server that is none of Kest's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Skipped {
    pub(crate) what: String,
    pub(crate) reason: String,
}

/// How to speak to an Open Policy Agent.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct Server {
    /// File with the bearer token for the Open Policy Agent
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// File with authorities in PEM to trust beside those of the system
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Server {
    /// Refuses options that would have no effect: a token that is not used is not protecting anything.
    ///
    /// # Errors
    /// When one is given.
    pub(crate) fn unused(&self) -> Result<(), Unusable> {
        match (&self.token_file, &self.ca) {
            (None, None) => Ok(()),
            (Some(_), _) => Err(Unusable("--token-file is for the server of --opa; give both".to_owned())),
            (None, Some(_)) => Err(Unusable("--ca is for the server of --opa; give both".to_owned())),
        }
    }

    /// An engine that asks the server.
    ///
    /// # Errors
    /// When the address, the token or the authorities cannot be used.
    #[cfg(feature = "opa")]
    pub(crate) fn engine(&self, url: &str) -> Result<Box<dyn PolicyEngine>, Unusable> {
        opa::engine(self, url).map(|engine| Box::new(engine) as _)
    }

    /// The policies of the server.
    ///
    /// # Errors
    /// When there is no usable answer in time.
    #[cfg(feature = "opa")]
    pub(crate) fn opa(&self, url: &str) -> Result<Remote, Unusable> {
        opa::policies(self, url)
    }

    /// As with the feature: nobody can be asked.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(feature = "opa"))]
    pub(crate) fn engine(&self, _url: &str) -> Result<Box<dyn PolicyEngine>, Unusable> {
        Err(not_built("opa"))
    }

    /// As with the feature: nobody can be asked.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(feature = "opa"))]
    pub(crate) fn opa(&self, _url: &str) -> Result<Remote, Unusable> {
        Err(not_built("opa"))
    }
}

/// The policies of a store of AWS Verified Permissions.
///
/// # Errors
/// When there is no usable answer in time.
#[cfg(feature = "avp")]
pub(crate) fn avp(store: &str, endpoint: Option<&str>) -> Result<Remote, Unusable> {
    avp::policies(store, endpoint)
}

/// As with the feature: nobody can be asked.
///
/// # Errors
/// Always.
#[cfg(not(feature = "avp"))]
pub(crate) fn avp(_store: &str, _endpoint: Option<&str>) -> Result<Remote, Unusable> {
    Err(not_built("avp"))
}

#[cfg(not(all(feature = "opa", feature = "avp")))]
fn not_built(feature: &str) -> Unusable {
    Unusable(format!("this build of kest has not the cargo feature `{feature}`; build it with that"))
}

impl Remote {
    /// Both servers' policies.
    ///
    /// # Errors
    /// When they have one of the same name: an engine would have to be chosen for it.
    pub(crate) fn merge(mut self, other: Self) -> Result<Self, Unusable> {
        if let Some(both) = other.lock.0.keys().find(|name| self.lock.0.contains_key(*name)) {
            return Err(Unusable(format!(
                "both servers have a policy `{both}`; write a lock of one of them, or rename one policy"
            )));
        }
        self.lock.0.extend(other.lock.0);
        self.skipped.extend(other.skipped);
        Ok(self)
    }
}

/// The digest of a policy that consists of some texts in this order: of the text itself where it is one, else of the
/// texts' digests, one a line.
#[cfg(any(feature = "opa", feature = "avp"))]
fn digest<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let digests: Vec<String> = texts.into_iter().map(digest_of).collect();
    match digests.as_slice() {
        [one] => one.clone(),
        several => digest_of(&several.iter().map(|digest| format!("{digest}\n")).collect::<String>()),
    }
}
