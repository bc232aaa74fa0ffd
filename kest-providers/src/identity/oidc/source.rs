//! Where the token is.

use std::env;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use kest_core::error::IdentityErrorKind;
use kest_core::text::Quoted;
use zeroize::Zeroizing;

use super::failure::Failure;
use super::token::MAX_BYTES;

/// A file or an environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TokenSource {
    File(Arc<PathBuf>),
    Variable(Arc<str>),
}

impl TokenSource {
    /// The token as it is now. A file is read on a thread that may block.
    pub(super) async fn read(&self) -> Result<Zeroizing<String>, Failure> {
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
                let file = Arc::clone(path);
                let read = tokio::task::spawn_blocking(move || bounded(&file)).await;
                match read.map_err(io::Error::other).flatten() {
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

/// The file's content, or one byte more than a token may have.
fn bounded(path: &PathBuf) -> io::Result<Zeroizing<Vec<u8>>> {
    // Opening a pipe would wait for whoever writes to it.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    // Its final size, so that no copy stays behind where it grew.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 1));
    File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
