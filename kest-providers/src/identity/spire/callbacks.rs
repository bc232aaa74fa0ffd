//! Rotation callbacks, on a thread of their own: what users write there can hold up neither the stream nor each other.

use std::future::Future;
use std::sync::Arc;
use std::thread;

use kest_core::error::{IdentityError, IdentityErrorKind};
use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};

use super::svid::X509Svid;

/// The thread, started with the first callback.
pub(super) struct Callbacks(Mutex<Option<Thread>>);

struct Thread {
    runtime: Handle,
    /// The thread ends when this is dropped.
    _alive: oneshot::Sender<()>,
}

impl Callbacks {
    pub(super) fn new() -> Self {
        Self(Mutex::new(None))
    }

    pub(super) fn register<C, F>(
        &self,
        mut rotations: watch::Receiver<Option<Arc<X509Svid>>>,
        callback: C,
    ) -> Result<(), IdentityError>
    where
        C: Fn(Arc<X509Svid>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    {
        let callback = Arc::new(callback);
        let runtime = self.runtime()?;
        runtime.spawn(async move {
            // A value that is there already was a rotation before this callback was registered.
            rotations.mark_unchanged();
            while rotations.changed().await.is_ok() {
                let Some(svid) = rotations.borrow_and_update().clone() else { continue };
                let callback = Arc::clone(&callback);
                // A task of its own, so that a panic is its own.
                match tokio::spawn(async move { callback(svid).await }).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(target: "kest", %error, "a rotation callback failed"),
                    Err(error) => tracing::warn!(target: "kest", %error, "a rotation callback panicked"),
                }
            }
        });
        Ok(())
    }

    /// Ends the thread. What a callback is doing is dropped where it awaits.
    pub(super) fn stop(&self) {
        self.0.lock().take();
    }

    fn runtime(&self) -> Result<Handle, IdentityError> {
        let mut slot = self.0.lock();
        if let Some(thread) = &*slot {
            return Ok(thread.runtime.clone());
        }
        let failed = |error: std::io::Error| {
            let message = format!("no thread for rotation callbacks could be started: {error}");
            IdentityError::new(IdentityErrorKind::Missing, message).with_source(error)
        };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (alive, ended) = oneshot::channel();
        thread::Builder::new()
            .name("kest-rotation".to_owned())
            .spawn(move || {
                // It ends by the sender's end.
                let _ = runtime.block_on(ended);
                runtime.shutdown_background();
            })
            .map_err(failed)?;
        *slot = Some(Thread { runtime: handle.clone(), _alive: alive });
        Ok(handle)
    }
}
