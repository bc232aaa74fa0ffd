//! The addresses that a server's name has.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;

use tokio::sync::oneshot;

use crate::errand::Errand;

/// A name that is looked up for each connection, once at a time: where resolvers do not answer, one thread waits for
/// them, not one for each question. The system's lookup cannot be given up.
pub(super) struct Name {
    name: Arc<str>,
    port: u16,
    lookup: Arc<Lookup>,
    asked: Errand<Found>,
}

type Lookup = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

type Found = Result<Vec<SocketAddr>, (io::ErrorKind, String)>;

impl Name {
    pub(super) fn new(name: &str, port: u16) -> Self {
        Self::looked_up_by(name, port, |name, port| Ok((name, port).to_socket_addrs()?.collect()))
    }

    fn looked_up_by(
        name: &str,
        port: u16,
        lookup: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), port, lookup: Arc::new(lookup), asked: Errand::default() }
    }

    pub(super) async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let found = self.asked.outcome(
            |_| true,
            || {
                let (name, port, lookup) = (Arc::clone(&self.name), self.port, Arc::clone(&self.lookup));
                on_a_thread(move || lookup(&name, port))
            },
        );
        found.await.map_err(io::Error::other)?.map_err(|(kind, why)| io::Error::new(kind, why))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({}:{})", self.name, self.port)
    }
}

/// On a thread of its own: those of the run-time are for all engines.
async fn on_a_thread(work: impl FnOnce() -> io::Result<Vec<SocketAddr>> + Send + 'static) -> Found {
    let plain = |error: io::Error| (error.kind(), error.to_string());
    let (done, found) = oneshot::channel();
    let begun = thread::Builder::new().name("kest-lookup".to_owned()).spawn(move || {
        // Nobody waits any more if this fails.
        let _ = done.send(work());
    });
    begun.map_err(plain)?;
    found.await.map_err(|_| plain(io::Error::other("the lookup of its name panicked")))?.map_err(plain)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use parking_lot::Mutex;
    use tokio::runtime::Builder;
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn lookups_that_stall_hold_one_thread_and_none_of_the_run_time() {
        let (begun, (release, stalled)) = (Arc::new(AtomicUsize::new(0)), mpsc::channel::<()>());
        let (counted, stalled) = (Arc::clone(&begun), Mutex::new(stalled));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 8181));
        let name = Name::looked_up_by("opa.example", 8181, move |_, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = stalled.lock().recv();
            Ok(vec![address])
        });
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            for _ in 0..20 {
                timeout(Duration::from_millis(10), name.addresses()).await.unwrap_err();
            }
            assert_eq!(begun.load(Ordering::SeqCst), 1);
            // The one thread that all share, for token files say, is free.
            let others = tokio::task::spawn_blocking(|| ());
            timeout(Duration::from_secs(60), others).await.unwrap().unwrap();
            // What the lookup finds in the end is for whoever asks then.
            release.send(()).unwrap();
            assert_eq!(name.addresses().await.unwrap(), [address]);
            assert_eq!(begun.load(Ordering::SeqCst), 1);
            drop(release);
            name.addresses().await.unwrap();
            assert_eq!(begun.load(Ordering::SeqCst), 2, "an address may change");
        });
    }

    #[tokio::test]
    async fn a_lookup_that_fails_says_why() {
        let refused = || io::Error::new(io::ErrorKind::NotFound, "no such name");
        let name = Name::looked_up_by("opa.example", 1, move |_, _| Err(refused()));
        let error = name.addresses().await.unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (io::ErrorKind::NotFound, "no such name".to_owned()));
        let name = Name::looked_up_by("opa.example", 1, |_, _| panic!("on purpose"));
        assert!(name.addresses().await.unwrap_err().to_string().contains("panicked"));
    }
}
