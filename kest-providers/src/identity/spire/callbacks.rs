//! Rotation callbacks, each on a thread of its own: what users write there can hold up neither the stream nor each other.

use std::future::Future;
use std::sync::Arc;
use std::thread;

use kest_core::error::{IdentityError, IdentityErrorKind};
use parking_lot::Mutex;
use tokio::runtime::Builder;
use tokio::sync::{oneshot, watch};

use super::state;

/// What keeps each callback's thread alive; `None` once they were stopped.
pub(super) struct Callbacks(Mutex<Option<Vec<oneshot::Sender<()>>>>);

impl Callbacks {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Some(Vec::new())))
    }

    /// Has `callback` called with whatever `rotations` has not seen yet.
    pub(super) fn register<T, C, F>(
        &self,
        rotations: watch::Receiver<Option<Arc<T>>>,
        callback: C,
    ) -> Result<(), IdentityError>
    where
        T: Send + Sync + 'static,
        C: Fn(Arc<T>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    {
        let mut threads = self.0.lock();
        // Under the lock: what is registered after the stop would never end.
        let threads = threads.as_mut().ok_or_else(state::shut_down)?;
        let failed = |error: std::io::Error| {
            let message = format!("no thread for a rotation callback could be started: {error}");
            IdentityError::new(IdentityErrorKind::Missing, message).with_source(error)
        };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (alive, ended) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("kest-rotation".to_owned())
            .spawn(move || {
                runtime.spawn(call_each(rotations, Arc::new(callback)));
                // It ends by the sender's end.
                let _ = runtime.block_on(ended);
                runtime.shutdown_background();
            })
            .map_err(failed)?;
        threads.push(alive);
        Ok(())
    }

    /// Ends the threads. What a callback is doing is dropped where it awaits.
    pub(super) fn stop(&self) {
        self.0.lock().take();
    }
}

async fn call_each<T, C, F>(mut rotations: watch::Receiver<Option<Arc<T>>>, callback: Arc<C>)
where
    T: Send + Sync + 'static,
    C: Fn(Arc<T>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    while rotations.changed().await.is_ok() {
        let Some(new) = rotations.borrow_and_update().clone() else { continue };
        let callback = Arc::clone(&callback);
        // A task of its own, so that a panic is its own; what is logged is a subscriber's code too.
        let call = async move {
            if let Err(error) = callback(new).await {
                tracing::warn!(target: "kest", %error, "a rotation callback failed");
            }
        };
        if let Err(error) = tokio::spawn(call).await {
            let say = async move { tracing::warn!(target: "kest", %error, "a rotation callback panicked") };
            let _ = tokio::spawn(say).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const WAIT: Duration = Duration::from_secs(20);

    #[test]
    fn what_comes_before_the_thread_has_started_is_not_lost() {
        let rotations = watch::Sender::new(Some(Arc::new(0)));
        let unseen = rotations.subscribe();
        rotations.send_replace(Some(Arc::new(1)));
        let (send, received) = mpsc::channel();
        let callbacks = Callbacks::new();
        let call = move |new: Arc<i32>| {
            let send = send.clone();
            async move { Ok(send.send(*new)?) }
        };
        callbacks.register(unseen, call).unwrap();
        assert_eq!(received.recv_timeout(WAIT).unwrap(), 1);
    }

    #[test]
    fn after_the_stop_callbacks_are_dropped_and_none_is_taken() {
        let rotations = watch::Sender::new(Some(Arc::new(0)));
        let (owned, ended) = mpsc::channel::<()>();
        let callbacks = Callbacks::new();
        let call = move |_| {
            let _owned = &owned;
            async { Ok(()) }
        };
        callbacks.register(rotations.subscribe(), call).unwrap();
        callbacks.stop();
        assert_eq!(ended.recv_timeout(WAIT), Err(mpsc::RecvTimeoutError::Disconnected));
        let error = callbacks.register(rotations.subscribe(), async |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("shut down"), "{error}");
    }
}
