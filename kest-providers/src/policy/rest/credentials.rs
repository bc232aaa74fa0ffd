//! What proves to a policy server that this process may ask.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use kest_core::text::Quoted;
use zeroize::Zeroizing;

use crate::file::{self, Reader};

/// A token, or where it is.
#[derive(Clone)]
pub(in crate::policy) enum Secret {
    Given(Zeroizing<String>),
    /// Read for each question, so that it can be replaced.
    File(Arc<PathBuf>),
}

/// The `Authorization` of requests.
pub(super) struct Authorization {
    /// What stands before the token, such as `Bearer `.
    scheme: &'static str,
    source: Source,
}

enum Source {
    None,
    Fixed(HeaderValue),
    File { path: Arc<PathBuf>, reader: Reader },
}

const MOST: usize = 64 * 1024;

impl Authorization {
    pub(super) fn new(scheme: &'static str, secret: Option<Secret>) -> Result<Self, String> {
        let source = match secret {
            None => Source::None,
            Some(Secret::Given(token)) => {
                Source::Fixed(header(scheme, token.as_bytes()).map_err(|why| format!("the token {why}"))?)
            }
            Some(Secret::File(path)) => Source::File { path, reader: Reader::default() },
        };
        Ok(Self { scheme, source })
    }

    /// The header's value now. A file is read for no longer than `limit`.
    pub(super) async fn value(&self, limit: Duration) -> Result<Option<HeaderValue>, String> {
        match &self.source {
            Source::None => Ok(None),
            Source::Fixed(value) => Ok(Some(value.clone())),
            Source::File { path, reader } => {
                let file = Arc::clone(path);
                let shown = path.to_string_lossy();
                let read = reader.within(limit, move || file::bounded(&file, MOST)).await;
                let bytes = read.map_err(|error| {
                    format!(
                        "its token cannot be read from {}: {error}; check the path and that this user may read it",
                        Quoted(&shown)
                    )
                })?;
                if bytes.len() > MOST {
                    return Err(format!("its token in {} is larger than {MOST} bytes", Quoted(&shown)));
                }
                let value = header(self.scheme, &bytes);
                value.map(Some).map_err(|why| format!("its token in {} {why}", Quoted(&shown)))
            }
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(_) => f.write_str("Given(…)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

fn header(scheme: &str, token: &[u8]) -> Result<HeaderValue, &'static str> {
    let token = token.trim_ascii();
    if token.is_empty() {
        return Err("is empty; put one there");
    }
    // RFC 9110 §5.5 allows more; no token has it.
    if !token.iter().all(|c| (0x20..=0x7e).contains(c)) {
        return Err("has characters that no token has; give one line of ASCII");
    }
    let value = Zeroizing::new([scheme.as_bytes(), token].concat());
    let mut value = HeaderValue::from_bytes(&value).map_err(|_| "cannot be sent")?;
    value.set_sensitive(true);
    Ok(value)
}
