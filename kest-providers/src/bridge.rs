//! One thread with a run-time of its own, for providers that speak over a network. Spec §11.
//!
//! Their clients are async only, and hooks are called from anywhere: from plain threads, from inside a tokio
//! current-thread run-time, from executors that are not tokio. What runs here does not depend on any of them, and
//! connections outlive the run-time of whoever made the first call.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::mpsc;
use std::thread;

use once_cell::sync::OnceCell;
use tokio::runtime::{Builder, Handle};

/// Runs a future on the bridge without blocking the caller's thread.
///
/// # Errors
/// When the bridge cannot start, or the future panicked.
#[cfg(any(test, feature = "jwks", feature = "spire", feature = "aws"))]
pub(crate) async fn run<F>(future: F) -> Result<F::Output, BridgeError>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    handle()?.spawn(future).await.map_err(|_| BridgeError::Panicked)
}

/// Runs a future on the bridge without blocking the caller's thread, for as long as the caller wants to know: whoever
/// drops this future cancels the other one.
///
/// # Errors
/// When the bridge cannot start, or the future panicked.
#[cfg(any(feature = "opa", feature = "cedar-agent", feature = "avp", feature = "redis"))]
pub(crate) async fn run_wanted<F>(future: F) -> Result<F::Output, BridgeError>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    struct Wanted<T>(tokio::task::JoinHandle<T>);
    impl<T> Drop for Wanted<T> {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
    let mut task = Wanted(handle()?.spawn(future));
    (&mut task.0).await.map_err(|_| BridgeError::Panicked)
}

/// Runs a future on the bridge and blocks the calling thread until it is done, also inside a run-time.
///
/// # Errors
/// When the bridge cannot start, the future panicked, or the caller is the bridge itself, which would wait for ever.
pub(crate) fn block_on<F>(future: F) -> Result<F::Output, BridgeError>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    if ON_BRIDGE.get() {
        return Err(BridgeError::Reentrant);
    }
    let (done, result) = mpsc::sync_channel(1);
    handle()?.spawn(async move {
        // Nobody waits any more if this fails.
        let _ = done.send(future.await);
    });
    result.recv().map_err(|_| BridgeError::Panicked)
}

thread_local! {
    static ON_BRIDGE: Cell<bool> = const { Cell::new(false) };
}

/// The run-time, started on first use. It lives as long as the process.
///
/// # Errors
/// When the operating system gives no thread.
pub(crate) fn handle() -> Result<&'static Handle, BridgeError> {
    static BRIDGE: OnceCell<Handle> = OnceCell::new();
    BRIDGE.get_or_try_init(|| {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(BridgeError::Start)?;
        let handle = runtime.handle().clone();
        thread::Builder::new()
            .name("kest-bridge".to_owned())
            .spawn(move || {
                ON_BRIDGE.set(true);
                runtime.block_on(std::future::pending::<()>());
            })
            .map_err(BridgeError::Start)?;
        Ok(handle)
    })
}

/// Why something did not run on the bridge.
#[derive(Debug)]
pub(crate) enum BridgeError {
    /// The operating system gave no thread.
    Start(io::Error),
    /// The future panicked.
    Panicked,
    /// The bridge would wait for itself.
    Reentrant,
}

impl fmt::Display for BridgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => write!(f, "kest's network thread could not be started: {error}"),
            Self::Panicked => f.write_str("a task on kest's network thread panicked; please report it"),
            Self::Reentrant => f.write_str(
                "a blocking call was made on kest's own network thread; use the async form there, or another thread",
            ),
        }
    }
}

impl std::error::Error for BridgeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Start(error) => Some(error),
            Self::Panicked | Self::Reentrant => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_from_a_plain_thread_and_from_inside_run_times() {
        assert_eq!(block_on(async { 1 }).unwrap(), 1);
        for mut builder in [Builder::new_current_thread(), Builder::new_multi_thread()] {
            let runtime = builder.enable_all().build().unwrap();
            assert_eq!(runtime.block_on(async { block_on(async { 2 }).unwrap() }), 2);
            assert_eq!(runtime.block_on(run(async { 3 })).unwrap(), 3);
        }
    }

    #[test]
    fn says_so_instead_of_waiting_for_itself() {
        let nested = block_on(async { block_on(async {}).map_err(|error| error.to_string()) }).unwrap();
        assert!(nested.unwrap_err().contains("network thread"));
    }

    #[cfg(any(feature = "opa", feature = "cedar-agent", feature = "avp", feature = "redis"))]
    #[test]
    fn work_that_nobody_waits_for_any_more_is_cancelled() {
        struct Told(mpsc::Sender<()>);
        impl Drop for Told {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let (told, ended) = mpsc::channel();
        let told = Told(told);
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let wanted = run_wanted(async move {
                let _told = told;
                std::future::pending::<()>().await;
            });
            tokio::time::timeout(std::time::Duration::from_millis(20), wanted).await.unwrap_err();
        });
        ended.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
    }

    #[test]
    fn a_panic_is_an_error_and_the_bridge_lives_on() {
        assert!(matches!(block_on(async { panic!("on purpose") }), Err(BridgeError::Panicked)));
        assert_eq!(block_on(async { 4 }).unwrap(), 4);
    }
}
