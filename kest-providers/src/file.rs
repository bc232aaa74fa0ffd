//! Small secret files, which the platform replaces: bounded, never a pipe, never waited for longer than said.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

/// Reads files on a thread that may block, one at a time: where a mount stalls, one thread waits for it, not one for
/// each attempt.
#[derive(Debug, Default)]
pub(crate) struct Reader(Mutex<Option<JoinHandle<Content>>>);

/// What was read.
pub(crate) type Content = io::Result<Zeroizing<Vec<u8>>>;

impl Reader {
    /// What `work` reads, or an error if that takes longer than `limit`.
    pub(crate) async fn within(
        &self,
        limit: Duration,
        work: impl FnOnce() -> Content + Send + 'static,
    ) -> Content {
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

/// The file's content, or one byte more than it may have.
pub(crate) fn bounded(path: &Path, most: usize) -> Content {
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
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 1));
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
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
