//! A SPIRE agent that does what a test tells it: the SPIFFE Workload API over a unix socket, in gRPC by hand on HTTP/2.
#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod pki;
pub(crate) mod proto;

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use kest_providers::identity::spire::{SpireProvider, SpireProviderBuilder};
use prost::Message as _;
use tokio::net::UnixListener;
use tokio::sync::{oneshot, watch};

/// What a stream of the agent says next.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    /// Nothing: the request is left open.
    Nothing,
    /// A message.
    Message(Vec<u8>),
    /// A gRPC status, which ends the stream.
    Status(u32, &'static str),
    /// Bytes that are no message.
    Garbage,
    /// The end of the stream without a word.
    Drop,
}

pub(crate) const PERMISSION_DENIED: u32 = 7;
pub(crate) const UNIMPLEMENTED: u32 = 12;
pub(crate) const UNAVAILABLE: u32 = 14;

/// The agent. It can be stopped and started again at the same socket.
pub(crate) struct Agent {
    folder: PathBuf,
    said: Arc<Said>,
    running: Option<(oneshot::Sender<()>, thread::JoinHandle<()>)>,
}

struct Said {
    x509: watch::Sender<Say>,
    jwt: watch::Sender<Say>,
    x509_streams: AtomicUsize,
    jwt_streams: AtomicUsize,
    connections: AtomicUsize,
}

impl Agent {
    /// An agent that does not run yet.
    pub(crate) fn stopped() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("kest-spire-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let said = Said {
            x509: watch::Sender::new(Say::Nothing),
            jwt: watch::Sender::new(Say::Nothing),
            x509_streams: AtomicUsize::new(0),
            jwt_streams: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
        };
        Self { folder, said: Arc::new(said), running: None }
    }

    pub(crate) fn started() -> Self {
        let mut agent = Self::stopped();
        agent.start();
        agent
    }

    /// A running agent that has sent these SVIDs.
    pub(crate) fn with(update: &proto::X509SvidResponse) -> Self {
        let agent = Self::started();
        agent.send(update);
        agent
    }

    pub(crate) fn start(&mut self) {
        assert!(self.running.is_none());
        let socket = self.socket();
        let _ = fs::remove_file(&socket);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = {
            let _entered = runtime.enter();
            UnixListener::bind(&socket).unwrap()
        };
        let (stop, stopped) = oneshot::channel();
        let said = Arc::clone(&self.said);
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, said) => {}
                    _ = stopped => {}
                }
            });
            // All connections go with it.
            drop(runtime);
        });
        self.running = Some((stop, thread));
    }

    /// Closes the socket and all connections.
    pub(crate) fn stop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            let _ = stop.send(());
            thread.join().unwrap();
        }
        let _ = fs::remove_file(self.socket());
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("agent.sock")
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// A provider of this agent, with a time-out that suits what must be refused.
    pub(crate) fn builder(&self) -> SpireProviderBuilder {
        SpireProvider::builder().endpoint(self.endpoint()).initial_timeout(Duration::from_secs(10))
    }

    pub(crate) fn provider(&self) -> SpireProvider {
        self.builder().build().unwrap()
    }

    /// A provider that does not wait long for what does not come.
    pub(crate) fn impatient(&self) -> SpireProvider {
        self.builder().initial_timeout(Duration::from_millis(400)).build().unwrap()
    }

    pub(crate) fn send(&self, update: &proto::X509SvidResponse) {
        self.say(Say::Message(update.encode_to_vec()));
    }

    pub(crate) fn say(&self, what: Say) {
        self.said.x509.send_replace(what);
    }

    pub(crate) fn send_jwt(&self, bundles: &proto::JwtBundlesResponse) {
        self.say_jwt(Say::Message(bundles.encode_to_vec()));
    }

    pub(crate) fn say_jwt(&self, what: Say) {
        self.said.jwt.send_replace(what);
    }

    /// How often X.509-SVIDs were asked for.
    pub(crate) fn x509_streams(&self) -> usize {
        self.said.x509_streams.load(Ordering::SeqCst)
    }

    /// How often JWT bundles were asked for.
    pub(crate) fn jwt_streams(&self) -> usize {
        self.said.jwt_streams.load(Ordering::SeqCst)
    }

    /// Connections that are open.
    pub(crate) fn connections(&self) -> usize {
        self.said.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(Path::new(&self.folder));
    }
}

/// Waits for a condition, a while.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "it never came to this: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// [`eventually`], without keeping the run-time from its work.
pub(crate) async fn eventually_async(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < deadline, "it never came to this: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

type Body = Cursor<Vec<u8>>;

async fn serve(listener: UnixListener, said: Arc<Said>) {
    loop {
        let Ok((socket, _)) = listener.accept().await else { return };
        let said = Arc::clone(&said);
        tokio::spawn(async move {
            let _open = Open::count(&said);
            let Ok(mut connection) = h2::server::Builder::new().handshake::<_, Body>(socket).await else {
                return;
            };
            while let Some(Ok((request, respond))) = connection.accept().await {
                tokio::spawn(answer(request, respond, Arc::clone(&said)));
            }
        });
    }
}

struct Open(Arc<Said>);

impl Open {
    fn count(said: &Arc<Said>) -> Self {
        said.connections.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(said))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn answer(request: Request<h2::RecvStream>, mut respond: SendResponse<Body>, said: Arc<Said>) {
    let (count, lane) = match request.uri().path() {
        "/SpiffeWorkloadAPI/FetchX509SVID" => (&said.x509_streams, &said.x509),
        "/SpiffeWorkloadAPI/FetchJWTBundles" => (&said.jwt_streams, &said.jwt),
        _ => return trailers_only(&mut respond, UNIMPLEMENTED, "not here"),
    };
    // SPIFFE Workload Endpoint §3: the header that no browser or forwarded request has.
    if request.headers().get("workload.spiffe.io") != Some(&HeaderValue::from_static("true")) {
        return trailers_only(&mut respond, 3, "security header missing from request");
    }
    count.fetch_add(1, Ordering::SeqCst);
    let mut lane = lane.subscribe();
    let mut stream = None;
    loop {
        let say = lane.borrow_and_update().clone();
        let frame = match say {
            Say::Nothing => None,
            Say::Message(message) => Some(framed(&message)),
            Say::Garbage => Some(framed(&[0xff; 40])),
            Say::Drop => return,
            Say::Status(code, message) => match stream {
                None => return trailers_only(&mut respond, code, message),
                Some(mut stream) => {
                    let _ = h2::SendStream::<Body>::send_trailers(&mut stream, status(code, message));
                    return;
                }
            },
        };
        if let Some(frame) = frame {
            if stream.is_none() {
                let Ok(opened) = respond.send_response(head(), false) else { return };
                stream = Some(opened);
            }
            let sent = stream.as_mut().map(|stream| stream.send_data(Cursor::new(frame), false));
            if matches!(sent, Some(Err(_))) {
                return;
            }
        }
        if lane.changed().await.is_err() {
            return;
        }
    }
}

/// gRPC over HTTP/2: a length-prefixed message that is not compressed.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

fn head() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

fn status(code: u32, message: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.into());
    // Percent-encoded, as gRPC over HTTP/2 asks.
    let message: String =
        message
            .bytes()
            .map(|byte| {
                if (0x20..0x7f).contains(&byte) {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            })
            .collect();
    trailers.insert("grpc-message", HeaderValue::from_str(&message).unwrap());
    trailers
}

fn trailers_only(respond: &mut SendResponse<Body>, code: u32, message: &str) {
    let mut response = head();
    response.headers_mut().extend(status(code, message));
    let _ = respond.send_response(response, true);
}
