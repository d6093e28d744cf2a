//! The sandbox's local end of the gate: 127.0.0.1:4040 inside, handed out by the runner.
//!
//! Whoever is inside may use it, in HTTP/1.1 and HTTP/2, gRPC included; a sandbox's processes are one
//! principal. A request gets the agent token in place of whatever authorization it had, and goes to the
//! gate; bodies and trailers stream both ways. A WebSocket is taken once the gate says so. Before Attach and
//! after Drain everything is refused.

mod authority;
mod refusal;
mod websocket;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use sandgate_rpc::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::body::Body;

use self::refusal::Refusal;
use super::gate::Gate;
use super::identity::{Phase, SharedIdentity};

/// The most connections of the sandbox at a time; more wait in the kernel's queue, which is theirs.
const CONNECTIONS_MAX: usize = 256;
/// The most requests on one HTTP/2 connection at a time.
const STREAMS_MAX: u32 = 128;
/// The most requests on their way at a time; one more is refused and may be repeated.
const REQUESTS_MAX: usize = 1024;
/// How long the head of an HTTP/1.1 request may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The published limit of a header list.
const HEADER_LIST_MAX_BYTES: u32 = 32 * 1024;
/// How many headers an HTTP/1.1 request may have.
const HEADERS_MAX: usize = 128;
/// The smallest buffer that holds a header list at its limit.
const HTTP1_BUFFER_BYTES: usize = 64 * 1024;
/// Bytes of one request that may wait to be forwarded.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Bytes of all requests of a connection that may wait to be forwarded.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// How long to wait after the listener had no descriptor to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What belongs to one connection and is never forwarded (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];
/// What would claim an identity toward the gate.
const CREDENTIALS: [HeaderName; 2] = [header::AUTHORIZATION, header::PROXY_AUTHORIZATION];
/// Names that the mesh uses for itself. The gate removes them too; they do not leave here at all.
const OWN_PREFIXES: [&str; 3] = ["sandgate-", "x-sandgate-", "x-sandbox-"];

/// The proxy behind the listener.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    gate: Arc<Gate>,
    identity: SharedIdentity,
    requests: Arc<Semaphore>,
}

impl Proxy {
    /// Forwards to `gate` as `identity`.
    pub(crate) fn new(gate: Arc<Gate>, identity: SharedIdentity) -> Self {
        Self {
            gate,
            identity,
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
        }
    }

    /// Serves connections until the shutdown begins.
    pub(crate) async fn serve(self, listener: TcpListener, shutdown: Shutdown) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.cancelled() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let proxy = self.clone();
                    let ending = shutdown.clone();
                    shutdown.spawn("local connection", async move {
                        let place = Place {
                            permit: Arc::new(permit),
                            tasks: ending.clone(),
                        };
                        tokio::select! {
                            () = proxy.connection(stream, place) => {}
                            () = ending.cancelled() => {}
                        }
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "the local listener could not accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream, place: Place) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a local connection keeps its delay");
        }
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HTTP1_BUFFER_BYTES)
            .max_headers(HEADERS_MAX);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEADER_LIST_MAX_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let service = service_fn(|request| {
            let (proxy, place) = (self.clone(), place.clone());
            async move { Ok::<_, Infallible>(proxy.forward(request, place).await) }
        });
        if let Err(error) = builder
            .serve_connection_with_upgrades(TokioIo::new(stream), service)
            .await
        {
            tracing::debug!(%error, "a local connection ended");
        }
    }

    async fn forward(&self, request: Request<Incoming>, place: Place) -> Response<Body> {
        let grpc = is_grpc(request.headers());
        match self.try_forward(request, place).await {
            Ok(response) => response,
            Err(refusal) => refusal.answer(grpc),
        }
    }

    async fn try_forward(
        &self,
        request: Request<Incoming>,
        place: Place,
    ) -> Result<Response<Body>, Refusal> {
        let authorization = self
            .identity
            .agent_authorization()
            .map_err(|phase| match phase {
                Phase::Spare | Phase::Attached => Refusal::NotAttached,
                Phase::Draining => Refusal::Ending,
            })?;
        if request.method() == Method::CONNECT {
            return Err(Refusal::Connect);
        }
        if !authority::is_one(&request) {
            return Err(Refusal::Authority);
        }
        let Ok(permit) = Arc::clone(&self.requests).try_acquire_owned() else {
            return Err(Refusal::Busy);
        };
        if asks_for_upgrade(request.headers()) {
            let asked = websocket::asked(request).ok_or(Refusal::Upgrade)?;
            return asked
                .forward(&self.gate, authorization, place, permit)
                .await;
        }
        let (mut head, body) = request.into_parts();
        toward_gate(&mut head, authorization);
        let request = Request::from_parts(head, Body::new(body));
        let response = self.gate.send(request).await.map_err(Refusal::Gate)?;
        let (mut head, body) = response.into_parts();
        toward_agent(&mut head);
        Ok(Response::from_parts(
            head,
            Body::new(Counted {
                body,
                _permit: permit,
            }),
        ))
    }
}

/// What a connection takes up for as long as anything of it lives, and by what that is joined.
#[derive(Debug, Clone)]
struct Place {
    permit: Arc<OwnedSemaphorePermit>,
    tasks: Shutdown,
}

/// Makes the head of a request what may reach the gate, with the agent's token.
fn toward_gate(head: &mut http::request::Parts, authorization: HeaderValue) {
    clean(&mut head.headers);
    head.headers.insert(header::AUTHORIZATION, authorization);
    head.version = http::Version::HTTP_2;
    head.extensions = http::Extensions::new();
    // HTTP/2 has the authority in its own field; the gate's is fixed.
    head.headers.remove(header::HOST);
}

/// Makes the head of an answer what may reach the agent.
fn toward_agent(head: &mut http::response::Parts) {
    remove_hop_by_hop(&mut head.headers);
    head.version = http::Version::default();
    head.extensions = http::Extensions::new();
}

/// An answer's body that counts as on its way until it was streamed.
struct Counted {
    body: Incoming,
    _permit: OwnedSemaphorePermit,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, hyper::Error>>> {
        std::pin::Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

/// Whether the request wants another protocol on its connection. The offer of h2c is optional to take and is
/// passed over, as RFC 9113 has it.
fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::UPGRADE)
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"h2c"))
}

/// Removes what must not reach the gate.
fn clean(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    for name in CREDENTIALS {
        headers.remove(name);
    }
    let own: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            OWN_PREFIXES
                .iter()
                .any(|prefix| name.as_str().starts_with(prefix))
        })
        .cloned()
        .collect();
    for name in own {
        headers.remove(name);
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    // `te: trailers` is the one thing that HTTP/2 lets cross, and gRPC needs it.
    let trailers = headers
        .get(header::TE)
        .is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    for name in named.into_iter().chain(HOP_BY_HOP) {
        headers.remove(name);
    }
    headers.remove(header::TE);
    headers.remove("proxy-connection");
    headers.remove("http2-settings");
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}
