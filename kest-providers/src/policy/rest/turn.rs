//! One question: what is sent, and what may come back.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::text::Safe;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::connection::Connection;
use super::{Answer, Rest};

/// The right to ask. It ends with the question, and so does the request if it is still under way.
pub(in crate::policy) struct Turn {
    rest: Rest,
    policy: String,
    deadline: Instant,
    _slot: OwnedSemaphorePermit,
}

/// How much of an answer that is none is read, so that the connection can be used again.
const MOST_OF_FAILURE: usize = 64 * 1024;

impl Turn {
    pub(super) fn new(rest: Rest, policy: &str, deadline: Instant, slot: OwnedSemaphorePermit) -> Self {
        Self { rest, policy: policy.to_owned(), deadline, _slot: slot }
    }

    /// Posts JSON.
    pub(in crate::policy) async fn post(&self, path: &str, body: Bytes) -> Result<Answer, PolicyUnavailable> {
        self.exchange(Method::POST, path, body).await
    }

    /// Asks for a document.
    #[cfg(feature = "cedar-agent")]
    pub(in crate::policy) async fn get(&self, path: &str) -> Result<Answer, PolicyUnavailable> {
        self.exchange(Method::GET, path, Bytes::new()).await
    }

    /// An error about this question.
    pub(in crate::policy) fn fail(&self, kind: PolicyErrorKind, why: impl fmt::Display) -> PolicyUnavailable {
        self.rest.fail(&self.policy, kind, why)
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, PolicyUnavailable> {
        let answer = self.try_exchange(method, path, body).await;
        self.rest.note(match &answer {
            Ok(_) => true,
            // It does answer.
            Err(error) => error.kind() == PolicyErrorKind::TooLarge,
        });
        answer
    }

    async fn try_exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Answer, PolicyUnavailable> {
        let request = self.request(method, path, body).await?;
        let (connection, response) = self.send(request).await?;
        let (answer, whole) = self.read(response).await?;
        if whole {
            self.rest.0.pool.give_back(connection).await;
        }
        Ok(answer)
    }

    /// When the time of this question is over.
    #[cfg(feature = "cedar-agent")]
    pub(in crate::policy) fn deadline(&self) -> Instant {
        self.deadline
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, PolicyUnavailable> {
        let shared = &self.rest.0;
        let left = self.deadline.saturating_duration_since(Instant::now());
        let authorization = shared.authorization.value(left).await;
        let authorization = authorization.map_err(|why| self.fail(PolicyErrorKind::Refused, why))?;
        let mut request = Request::builder()
            .uri(shared.endpoint.target(path))
            .header(HOST, shared.endpoint.host())
            .header(ACCEPT, "application/json");
        if method == Method::POST {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        request.method(method).body(Full::new(body)).map_err(|error| self.fail(PolicyErrorKind::Load, error))
    }

    /// Sends the request. A connection that was closed before anything of it was sent is not the server's answer.
    async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Connection, Response<Incoming>), PolicyUnavailable> {
        let shared = &self.rest.0;
        loop {
            let mut connection = match shared.pool.idle() {
                Some(connection) => {
                    // The run-time looks at its sockets before it goes on here: what the server closed before this
                    // question is then known to be closed.
                    tokio::task::yield_now().await;
                    if !connection.sender.is_ready() {
                        continue;
                    }
                    connection
                }
                None => self.connect().await?,
            };
            let sent =
                self.in_time(connection.sender.try_send_request(request), || "it did not answer".to_owned());
            match sent.await? {
                Ok(response) => return Ok((connection, response)),
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) if connection.used => request = unsent,
                    Some(_) | None => {
                        let error = failed.into_error();
                        let why =
                            format!("the connection ended before an answer ({}); see its log", chain(&error));
                        return Err(self.fail(PolicyErrorKind::Connection, why).with_source(error));
                    }
                },
            }
        }
    }

    async fn connect(&self) -> Result<Connection, PolicyUnavailable> {
        let shared = &self.rest.0;
        let connected =
            self.in_time(shared.pool.connect(&shared.endpoint), || "no connection came about".to_owned());
        connected.await?.map_err(|error| {
            let certificate = error.get_ref().is_some_and(|inner| {
                matches!(inner.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
            });
            let fix = match certificate {
                true => "if it is the right server, give its authority with `.root_certificates_pem(…)`",
                false => "check that it runs, and its address",
            };
            self.fail(PolicyErrorKind::Connection, format!("{}; {fix}", chain(&error))).with_source(error)
        })
    }

    /// The answer, and whether all of it was read.
    async fn read(&self, response: Response<Incoming>) -> Result<(Answer, bool), PolicyUnavailable> {
        let (head, mut body) = response.into_parts();
        let status = head.status;
        let good = status == StatusCode::OK;
        let limit = match good {
            true => self.rest.0.limits.max_bytes,
            false => MOST_OF_FAILURE,
        };
        let too_large = || {
            let why =
                format!("its answer is larger than {limit} bytes; have it answer less, or raise `max_bytes`");
            Err(self.fail(PolicyErrorKind::TooLarge, why))
        };
        // What the server says; the loop below does not rely on it.
        if good && body.size_hint().lower() > limit as u64 {
            return too_large();
        }
        let mut bytes = Vec::new();
        loop {
            let read = bytes.len();
            let frame = self.in_time(body.frame(), || format!("only {read} bytes of its answer came"));
            let frame = match frame.await {
                Ok(None) => return Ok((Answer { status, body: bytes }, true)),
                Ok(Some(Ok(frame))) => frame,
                // The status says all that counts.
                Ok(Some(Err(_))) | Err(_) if !good => return Ok((Answer { status, body: bytes }, false)),
                Err(timeout) => return Err(timeout),
                Ok(Some(Err(error))) => {
                    let why =
                        format!("its answer broke off after {read} bytes ({}); see its log", chain(&error));
                    return Err(self.fail(PolicyErrorKind::Connection, why).with_source(error));
                }
            };
            // Anything else is a trailer.
            let Ok(data) = frame.into_data() else { continue };
            if data.len() > limit - bytes.len() {
                if good {
                    return too_large();
                }
                bytes.extend_from_slice(data.get(..limit - bytes.len()).unwrap_or_default());
                return Ok((Answer { status, body: bytes }, false));
            }
            bytes.extend_from_slice(&data);
        }
    }

    /// What `work` gives, if it does in time.
    async fn in_time<T>(
        &self,
        work: impl Future<Output = T>,
        late: impl FnOnce() -> String,
    ) -> Result<T, PolicyUnavailable> {
        tokio::time::timeout_at(self.deadline, work).await.map_err(|_| {
            let timeout = self.rest.0.limits.timeout;
            let why = format!("{} within {timeout:?}; see why it is slow, or raise `timeout`", late());
            self.fail(PolicyErrorKind::Timeout, why)
        })
    }
}

/// The error with what lies under it.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut under = error.source();
    while let Some(next) = under {
        let next_text = next.to_string();
        if !text.contains(&next_text) {
            text = format!("{text}: {next_text}");
        }
        under = next.source();
    }
    Safe(text).to_string()
}
