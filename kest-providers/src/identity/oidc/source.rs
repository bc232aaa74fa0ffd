//! Where the token is.

use std::env;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kest_core::error::IdentityErrorKind;
use kest_core::text::Quoted;
use zeroize::Zeroizing;

use super::failure::Failure;
use super::token::MAX_BYTES;
use crate::file::{self, Reader};

/// A file or an environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TokenSource {
    File(Arc<PathBuf>),
    Variable(Arc<str>),
}

impl TokenSource {
    /// The token as it is now. A file is read by `reader`, for no longer than `limit`.
    pub(super) async fn read(&self, reader: &Reader, limit: Duration) -> Result<Zeroizing<String>, Failure> {
        match self {
            Self::Variable(name) => self.text(match env::var(&**name) {
                Ok(value) => Zeroizing::new(value.into_bytes()),
                Err(env::VarError::NotPresent) => {
                    return Err(Failure::new(
                        IdentityErrorKind::Missing,
                        format!("there is no OpenID Connect token: variable {} is not set", Quoted(name)),
                    ));
                }
                Err(env::VarError::NotUnicode(_)) => return Err(self.garbled()),
            }),
            Self::File(path) => {
                let named = Arc::clone(path);
                match reader.within(limit, move || file::bounded(&named, MAX_BYTES)).await {
                    Ok(bytes) => self.text(bytes),
                    Err(error) => Err(Failure::new(
                        IdentityErrorKind::Missing,
                        format!(
                            "the OpenID Connect token cannot be read from {}: {error}; \
                             check the path and that this user may read it",
                            Quoted(&path.to_string_lossy())
                        ),
                    )),
                }
            }
        }
    }

    fn text(&self, bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<String>, Failure> {
        if bytes.len() > MAX_BYTES {
            return Err(Failure::untrusted(format!("{self} is larger than {MAX_BYTES} bytes")));
        }
        let text = str::from_utf8(&bytes).map_err(|_| self.garbled())?.trim_ascii();
        if text.is_empty() {
            return Err(Failure::new(IdentityErrorKind::Missing, format!("{self} is empty")));
        }
        Ok(Zeroizing::new(text.to_owned()))
    }

    fn garbled(&self) -> Failure {
        Failure::untrusted(format!("{self} is no text"))
    }
}

impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the token in {}", Quoted(&path.to_string_lossy())),
            Self::Variable(name) => write!(f, "the token in variable {}", Quoted(name)),
        }
    }
}
