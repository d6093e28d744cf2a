//! The way from the keeper to the gate: one HTTP/2 connection over the socket that the backend handed over.
//!
//! Everything that leaves the sandbox goes through here, with exactly one token put on it: the agent's for
//! what the local listener forwards, the daemon's for what the keeper itself originates. When the gate is
//! restarted the backend hands over a new socket, and whoever asks meanwhile waits a little.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use sandgate_rpc::{Outgoing, Shutdown};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tonic::body::Body;

/// How long a request waits for the gate to come back. A restart of the gate takes less.
const LINK_WAIT: Duration = Duration::from_secs(5);
/// Bytes of one answer that may wait for their reader; together with the next it bounds what a peer that
/// sends faster than it is read can take.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Bytes of all answers that may wait.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// The published limit of a header list.
const HEADER_LIST_MAX_BYTES: u32 = 32 * 1024;
/// What may wait to be sent on one stream.
const SEND_BUFFER_MAX_BYTES: usize = 64 * 1024;

/// Why a request did not reach the gate or its answer did not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GateError {
    /// There is no connection, and none came while we waited.
    #[error("the gate is not connected")]
    Absent,
    /// The connection broke.
    #[error("the connection to the gate broke")]
    Broken(#[source] hyper::Error),
    /// The request cannot be addressed.
    #[error("the request has no path")]
    Unaddressed(#[source] http::Error),
}

/// The connection to the gate, whichever is the current one.
#[derive(Debug)]
pub(crate) struct Gate {
    link: watch::Sender<Option<SendRequest<Body>>>,
    shutdown: Shutdown,
}

impl Gate {
    /// No connection yet.
    pub(crate) fn new(shutdown: Shutdown) -> Self {
        Self {
            link: watch::Sender::new(None),
            shutdown,
        }
    }

    /// Takes `stream`, whose other end the gate holds, as the connection from now on.
    ///
    /// # Errors
    /// [`GateError::Broken`], when the peer does not speak HTTP/2.
    pub(crate) async fn connect(&self, stream: UnixStream) -> Result<(), GateError> {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(HEADER_LIST_MAX_BYTES)
            .max_send_buf_size(SEND_BUFFER_MAX_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(GateError::Broken)?;
        self.link.send_replace(Some(sender));
        self.shutdown.spawn("gate link", async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the gate ended");
            }
        });
        Ok(())
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// [`GateError`]; the request may have reached the gate only with [`GateError::Broken`].
    pub(crate) async fn send(
        &self,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, GateError> {
        *request.uri_mut() = toward_gate(request.uri()).map_err(GateError::Unaddressed)?;
        let mut link = self.link.subscribe();
        let usable = link.wait_for(|link| link.as_ref().is_some_and(|link| !link.is_closed()));
        let found = tokio::time::timeout(LINK_WAIT, usable).await;
        let Ok(Ok(found)) = found.map(|found| found.map(|link| link.clone())) else {
            return Err(GateError::Absent);
        };
        let mut sender = found.ok_or(GateError::Absent)?;
        sender
            .send_request(request)
            .await
            .map_err(GateError::Broken)
    }
}

/// The same path on the one authority that there is; the socket itself is the address.
fn toward_gate(uri: &Uri) -> Result<Uri, http::Error> {
    let path = uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(Authority::from_static("gate"))
        .path_and_query(path)
        .build()
}

/// Gives the daemon token for a call of the keeper's own.
pub(crate) trait DaemonToken: Send + Sync + 'static {
    /// The `authorization` value, or nothing before Attach.
    fn authorization(&self) -> Option<HeaderValue>;
}

/// A channel for generated clients whose calls carry the daemon token.
#[derive(Clone)]
pub(crate) struct DaemonChannel {
    gate: Arc<Gate>,
    token: Arc<dyn DaemonToken>,
}

impl DaemonChannel {
    /// Calls through `gate` with what `token` gives at the time of each call.
    pub(crate) fn new(gate: Arc<Gate>, token: Arc<dyn DaemonToken>) -> Self {
        Self { gate, token }
    }
}

impl std::fmt::Debug for DaemonChannel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DaemonChannel").finish_non_exhaustive()
    }
}

impl tower_service::Service<Request<Body>> for DaemonChannel {
    type Response = Response<Incoming>;
    type Error = GateError;
    type Future = BoxFuture<'static, Result<Self::Response, GateError>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), GateError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let outgoing = Outgoing::begin(&path, request.headers_mut());
        let gate = Arc::clone(&self.gate);
        match self.token.authorization() {
            Some(authorization) => {
                request.headers_mut().insert(AUTHORIZATION, authorization);
                Box::pin(async move {
                    let answered = gate.send(request).await;
                    if let Ok(response) = &answered {
                        outgoing.ended(Ok(response.headers()));
                    }
                    answered
                })
            }
            None => Box::pin(async { Err(GateError::Absent) }),
        }
    }
}
