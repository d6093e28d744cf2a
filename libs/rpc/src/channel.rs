//! How a service calls another: a connection that comes back by itself, deadlines, traces and the request's name
//! passed on, and retries of what is declared idempotent.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_api::options::v1::DeadlineClass;
use sandgate_api::{Access, Method};
use tonic::Status;
use tonic::body::Body;
use tonic::transport::Endpoint;
use tower_service::Service;
use tracing::Instrument as _;

use crate::limits::{
    DEADLINE_MARGIN, HEADER_LIST_MAX_BYTES, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT,
    MESSAGE_MAX_BYTES,
};
use crate::retry::{self, Budget};
use crate::{Deadline, Fault, Outgoing, Reason, Target, deadline};

const UNREACHABLE: Reason = Reason::new("sandgate", "PEER_UNREACHABLE");
const TOO_LATE: Reason = Reason::new("sandgate", "DEADLINE_EXCEEDED");
const TOO_LARGE: Reason = Reason::new("sandgate", "MESSAGE_TOO_LARGE");
/// When a peer that could not be reached is worth another call.
const RECONNECT: Duration = Duration::from_millis(200);

/// How a channel behaves.
#[derive(Debug, Clone)]
pub struct ChannelOptions {
    /// Whether idempotent unary calls are made again when the peer was not there. A proxy leaves this to its
    /// own client.
    pub retries: bool,
}

impl Default for ChannelOptions {
    fn default() -> Self {
        Self { retries: true }
    }
}

/// A client's way to one peer. Cheap to clone; all clones share the connection, which is made at the first
/// call and again after it was lost.
#[derive(Debug, Clone)]
pub struct Channel {
    inner: tonic::transport::Channel,
    retries: bool,
    budget: Arc<Budget>,
}

impl Channel {
    /// A channel to `target`. Must be called within a tokio runtime.
    pub fn new(target: Target, options: ChannelOptions) -> Self {
        let ChannelOptions { retries } = options;
        let endpoint = Endpoint::from_static("http://mesh.sandgate.invalid")
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .http2_max_header_list_size(HEADER_LIST_MAX_BYTES);
        let connector = tower::service_fn(move |_: Uri| {
            let target = target.clone();
            async move { target.connect().await.map(TokioIo::new) }
        });
        Self {
            inner: endpoint.connect_with_connector_lazy(connector),
            retries,
            budget: Arc::new(Budget::new()),
        }
    }

    async fn send(&mut self, request: Request<Body>) -> Result<Response<Body>, Status> {
        std::future::poll_fn(|context| self.inner.poll_ready(context))
            .await
            .map_err(unreachable)?;
        self.inner.call(request).await.map_err(unreachable)
    }

    /// Sends, and waits for the head of the answer no longer than the call may take.
    async fn send_in_time(
        &mut self,
        mut request: Request<Body>,
        limit: Deadline,
    ) -> Result<Response<Body>, Status> {
        let remaining = limit.remaining();
        // Also over what a caller wished: a call that is made again has less left.
        if let Ok(value) = HeaderValue::try_from(deadline::header(remaining)) {
            request.headers_mut().insert(deadline::HEADER, value);
        }
        // The server answers a margin before; this is for a peer that does not answer at all.
        match tokio::time::timeout(remaining + DEADLINE_MARGIN, self.send(request)).await {
            Ok(answered) => answered,
            Err(_) => Err(too_late()),
        }
    }

    async fn send_again_when_it_helps(
        mut self,
        request: Request<Body>,
        limit: Deadline,
    ) -> Result<Response<Body>, Status> {
        let (head, body) = request.into_parts();
        // Five bytes of framing come before the message.
        let whole = Limited::new(body, MESSAGE_MAX_BYTES + 5)
            .collect()
            .await
            .map_err(|_| Fault::exhausted(TOO_LARGE, "the request is larger than 4 MiB"))?
            .to_bytes();
        self.budget.deposit();
        let mut attempt = 1;
        loop {
            let body = Body::new(Full::new(Bytes::clone(&whole)));
            let request = Request::from_parts(head.clone(), body);
            let answered = self.send_in_time(request, limit).await;
            let failed = match &answered {
                Ok(response) => Status::from_header_map(response.headers()),
                Err(status) => Some(status.clone()),
            };
            let wait = failed
                .as_ref()
                .and_then(|status| retry::wait(status, attempt, &mut StdRng::from_os_rng()))
                .filter(|wait| *wait < limit.remaining() && self.budget.withdraw());
            let Some(wait) = wait else {
                return answered;
            };
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // A clone is made ready for each call, so that retries wait for the connection too.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let outgoing = Outgoing::begin(&path, request.headers_mut());
        let method = sandgate_api::find(&path);
        let limit = limit_of(method, deadline::wished(request.headers()));
        let mut channel = self.clone();
        let repeats = self.retries && method.is_some_and(may_repeat);
        let span = outgoing.span().clone();
        let sending = async move {
            let answered = if repeats {
                channel.send_again_when_it_helps(request, limit).await
            } else {
                channel.send_in_time(request, limit).await
            };
            outgoing.ended(answered.as_ref().map(Response::headers));
            answered
        };
        Box::pin(sending.instrument(span))
    }
}

fn may_repeat(method: &Method) -> bool {
    let idempotent = method.access.as_ref().is_some_and(Access::is_idempotent);
    idempotent && !method.streams_in && !method.streams_out
}

/// What is left of the call that we serve, and no more than the caller wishes and the method's class has.
fn limit_of(method: Option<&Method>, wished: Option<Duration>) -> Deadline {
    let class = method
        .and_then(|method| method.access.as_ref())
        .map_or(DeadlineClass::Long, Access::deadline);
    let longest = deadline::longest(class);
    let own = Deadline::after(wished.map_or(longest, |wished| wished.min(longest)));
    match Deadline::current() {
        Some(current) if current.remaining() < own.remaining() => current,
        Some(_) | None => own,
    }
}

fn too_late() -> Status {
    Fault::deadline_exceeded(TOO_LATE, "the peer did not answer in time").into()
}

fn unreachable(error: tonic::transport::Error) -> Status {
    // tonic keeps the same deadline by a clock of its own, and may be the first to notice.
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        if error.is::<tonic::TimeoutExpired>() {
            return too_late();
        }
        cause = error.source();
    }
    tracing::debug!(error = %Chain(&error), "a peer could not be reached");
    Fault::unavailable(UNREACHABLE, "a service of the mesh is not reachable")
        .retry_after(RECONNECT)
        .into()
}

struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}
