//! Where the token is.

use std::env;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kest_core::error::IdentityErrorKind;
use kest_core::text::Quoted;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
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
                let file = Arc::clone(path);
                match reader.within(limit, move || bounded(&file)).await {
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

/// Reads files on a thread that may block, one at a time: where a mount stalls, one thread waits for it, not one for
/// each attempt.
#[derive(Debug, Default)]
pub(super) struct Reader(Mutex<Option<JoinHandle<Content>>>);

type Content = io::Result<Zeroizing<Vec<u8>>>;

impl Reader {
    async fn within(&self, limit: Duration, work: impl FnOnce() -> Content + Send + 'static) -> Content {
        let read = tokio::time::timeout(limit, async {
            let mut reading = self.0.lock().await;
            if let Some(stalled) = reading.as_mut() {
                // What it read is not what is there now.
                drop(stalled.await);
                *reading = None;
            }
            let read = reading.insert(tokio::task::spawn_blocking(work)).await;
            *reading = None;
            read.map_err(io::Error::other)?
        });
        read.await.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("it was not read within {limit:?}")))
        })
    }
}

/// The file's content, or one byte more than a token may have.
fn bounded(path: &Path) -> Content {
    let mut options = OpenOptions::new();
    options.read(true);
    // Opening a pipe would wait for whoever writes to it.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.open(path)?;
    // Of what was opened: the path may name something else by now.
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    // Its final size, so that no copy stays behind where it grew.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 1));
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_stalled_read_ends_in_time_and_holds_one_thread() {
        let reader = Reader::default();
        let (release, stalled) = mpsc::channel::<()>();
        let work = move || {
            let _ = stalled.recv();
            Ok(Zeroizing::new(b"old".to_vec()))
        };
        let short = Duration::from_millis(50);
        let error = reader.within(short, work).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        // The next does not even begin, so that it cannot stall too.
        let (begun, has_begun) = mpsc::channel();
        let next = move || {
            begun.send(()).unwrap();
            Ok(Zeroizing::new(Vec::new()))
        };
        assert_eq!(reader.within(short, next).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(has_begun.try_recv(), Err(mpsc::TryRecvError::Disconnected));
        release.send(()).unwrap();
        let long = Duration::from_secs(60);
        let read = reader.within(long, || Ok(Zeroizing::new(b"new".to_vec()))).await.unwrap();
        assert_eq!(**read, *b"new");
    }
}
