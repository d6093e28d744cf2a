//! What every call of every server passes, outermost first: span and record → panic to INTERNAL → admission →
//! authorization → deadline → the service.
//!
//! One place rather than a layer for each, since the order is the point and each step is a line.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{Request, Response};
use sandgate_api::Method;
use sandgate_api::options::v1::DeadlineClass;
use sandgate_telemetry::semconv;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;
use tower_layer::Layer;
use tower_service::Service;
use tracing::{Instrument as _, Span};

use crate::authorize::{authorize, is_open};
use crate::limits::CALLS_IN_FLIGHT;
use crate::tail::{End, Tail};
use crate::trace::{Instruments, Recorder};
use crate::{Caller, Deadline, Fault, Peer, Reason, Refusals, Refused, Shutdown};

const SHED: Reason = Reason::new("sandgate", "OVERLOADED");
const ENDING: Reason = Reason::new("sandgate", "SERVER_ENDING");
const TOO_LATE: Reason = Reason::new("sandgate", "DEADLINE_EXCEEDED");
/// When a server that is full may have room again.
const SHED_RETRY: Duration = Duration::from_millis(500);
/// When another server, or this one again, may be there.
const COME_BACK: Duration = Duration::from_secs(1);

/// Wraps all services of a server.
#[derive(Debug, Clone)]
pub(crate) struct GuardLayer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    instruments: Arc<Instruments>,
    admission: Arc<Semaphore>,
    shutdown: Shutdown,
    refusals: Option<Arc<dyn Refusals>>,
}

impl GuardLayer {
    pub(crate) fn new(
        instruments: Instruments,
        shutdown: Shutdown,
        refusals: Option<Arc<dyn Refusals>>,
    ) -> Self {
        Self(Arc::new(Shared {
            instruments: Arc::new(instruments),
            admission: Arc::new(Semaphore::new(CALLS_IN_FLIGHT)),
            shutdown,
            refusals,
        }))
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard {
            inner,
            shared: Arc::clone(&self.0),
        }
    }
}

/// What passed: the request, its room among the calls in flight, and its method; a probe has neither.
type Checked = (
    Request<Body>,
    Option<OwnedSemaphorePermit>,
    Option<&'static Method>,
);

/// What did not pass, and whose call it was where the method table refused it.
struct Unchecked {
    fault: Fault,
    who: Option<Box<Parts>>,
}

/// The services behind the guard.
#[derive(Debug, Clone)]
pub(crate) struct Guard<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Service<Request<Body>> for Guard<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: std::error::Error + Send + Sync + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The clone that was made ready serves this call; the other takes its place.
        let next = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, next);
        let shared = Arc::clone(&self.shared);
        Box::pin(shared.pass(inner, request))
    }
}

impl Shared {
    async fn pass<S>(
        self: Arc<Self>,
        inner: S,
        request: Request<Body>,
    ) -> Result<Response<Body>, S::Error>
    where
        S: Service<Request<Body>, Response = Response<Body>>,
        S::Error: std::error::Error + Send + Sync + 'static,
    {
        let (head, body) = request.into_parts();
        let found = sandgate_api::find(head.uri.path());
        let mut recorder = Recorder::begin(&self.instruments, &head, found);
        let span = recorder.span().clone();
        let name = recorder.name().clone();
        let answering = async {
            match self.check(head, body, found) {
                Err(Unchecked { fault, who }) => Err(self.recorded(fault, who).await),
                Ok((request, admitted, method)) => {
                    let class = method
                        .and_then(|method| method.access.as_ref())
                        .map_or(DeadlineClass::Short, sandgate_api::Access::deadline);
                    let deadline = deadline_of(&request, class);
                    let streams = class == DeadlineClass::Stream || method.is_none();
                    let answered = answer(inner, request, deadline).await;
                    Ok((answered, admitted, deadline, streams))
                }
            }
        };
        let answered = name.clone().scope(answering.instrument(span)).await;
        let (answered, admitted, deadline, streams) = match answered {
            Ok(answered) => answered,
            Err(fault) => {
                recorder.end(fault.code());
                let mut refused = Status::from(fault).into_http();
                name.answer(refused.headers_mut());
                return Ok(refused);
            }
        };
        let mut answered = answered?;
        name.answer(answered.headers_mut());
        recorder.see(answered.headers());
        let end = if streams {
            let shutdown = self.shutdown.clone();
            End::Idle(Box::pin(async move {
                shutdown.cancelled().await;
                Fault::unavailable(ENDING, "the server is ending; open the stream again")
                    .retry_after(COME_BACK)
            }))
        } else {
            End::Now(deadline, None)
        };
        Ok(answered.map(|body| Body::new(Tail::new(body, recorder, admitted, end))))
    }

    /// Has a refusal put on record, where somebody records them, and answers what is to be answered then.
    async fn recorded(&self, fault: Fault, who: Option<Box<Parts>>) -> Fault {
        let (Some(refusals), Some(head)) = (&self.refusals, who) else {
            return fault;
        };
        let peer = head.extensions.get::<Peer>().unwrap_or(&Peer::Anonymous);
        let refused = Refused {
            method: sandgate_api::find(head.uri.path()).map_or("other", |method| method.path),
            peer,
            caller: head.extensions.get::<Caller>(),
        };
        refusals.refused(refused, fault).await
    }

    fn check(
        &self,
        mut head: Parts,
        body: Body,
        found: Option<&'static Method>,
    ) -> Result<Checked, Unchecked> {
        if is_open(head.uri.path()) {
            // A server that is full is not dead, so a probe is not counted.
            return Ok((Request::from_parts(head, body), None, None));
        }
        let admitted = Arc::clone(&self.admission)
            .try_acquire_owned()
            .map_err(|_| {
                Fault::exhausted(SHED, "the service has as many calls as it takes")
                    .quota("calls", "the calls in flight of one server")
                    .retry_after(SHED_RETRY)
            })
            .map_err(|fault| Unchecked { fault, who: None })?;
        let method = match authorize(&mut head, found) {
            Ok(method) => method,
            Err(fault) => {
                let who = Some(Box::new(head));
                return Err(Unchecked { fault, who });
            }
        };
        if let Some(tenant) = tenant_of(&head) {
            Span::current().record(semconv::TENANT, tenant);
        }
        let class = method.access.as_ref().map(sandgate_api::Access::deadline);
        let deadline = Deadline::of(&head.headers, class.unwrap_or(DeadlineClass::Short));
        head.extensions.insert(deadline);
        let body = if method.streams_in {
            told_when_cut(body)
        } else {
            body
        };
        Ok((
            Request::from_parts(head, body),
            Some(admitted),
            Some(method),
        ))
    }
}

/// Lets the service answer, in time and without its panics.
async fn answer<S>(
    mut inner: S,
    request: Request<Body>,
    deadline: Deadline,
) -> Result<Response<Body>, S::Error>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    let work = deadline.scope(AssertUnwindSafe(inner.call(request)).catch_unwind());
    match tokio::time::timeout_at(deadline.instant(), work).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(_panic)) => {
            // The panic hook has logged where; what it said may hold anything.
            Ok(Status::from(panicked()).into_http())
        }
        Err(_) => Ok(Status::from(too_late()).into_http()),
    }
}

fn deadline_of(request: &Request<Body>, class: DeadlineClass) -> Deadline {
    let checked = request.extensions().get::<Deadline>().copied();
    checked.unwrap_or_else(|| Deadline::of(request.headers(), class))
}

fn tenant_of(head: &http::request::Parts) -> Option<&str> {
    let caller = head.extensions.get::<Caller>()?;
    caller.tenant.as_ref().map(sandgate_types::TenantId::as_str)
}

/// What a caller hears whose time is over.
pub(crate) fn too_late() -> Fault {
    Fault::deadline_exceeded(TOO_LATE, "the call took longer than it may")
}

/// What a caller hears of a panic, in a handler or in the stream that it answered.
pub(crate) fn panicked() -> Fault {
    #[derive(Debug, thiserror::Error)]
    #[error("a handler panicked")]
    struct Panicked;
    Fault::internal(Panicked)
}

/// A stream of requests that breaks off is an error to its reader. tonic takes a cancelled one for one that has
/// ended, and then half of an upload would count as the whole.
fn told_when_cut(body: Body) -> Body {
    use http_body_util::BodyExt as _;
    Body::new(body.map_err(|status| {
        if status.code() == tonic::Code::Cancelled {
            Status::unavailable("the caller left before its request was complete")
        } else {
            status
        }
    }))
}
