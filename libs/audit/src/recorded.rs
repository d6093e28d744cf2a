//! A gRPC service whose decisions are on record.
//!
//! Whatever it refuses is on disk before the answer leaves, by a handler or by the server's method table. What it
//! allows its handlers record by the [`Recorder`] that comes with each request: a data call on its way, a change
//! before its effect.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Extensions, Request, Response};
use parking_lot::Mutex;
use sandgate_rpc::{Fault, Peer, Refusals, code_name};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tower_service::Service;

use crate::{Decision, Entry, Log, Receipt, Refused};

/// Puts on record what a server decides.
#[derive(Debug, Clone)]
pub struct Recording {
    log: Log,
    /// The answer in place of one that cannot be recorded.
    unrecorded: fn(Refused) -> Fault,
}

/// A service whose decisions are on record.
#[derive(Debug, Clone)]
pub struct Recorded<S> {
    inner: S,
    recording: Recording,
}

/// Records what is decided about one request.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Asked>);

#[derive(Debug)]
struct Asked {
    log: Log,
    entry: Mutex<Entry>,
}

impl Recorder {
    /// That of a request.
    ///
    /// # Errors
    /// When the request did not come through [`Recorded`]: nothing can be recorded of it.
    pub fn of(extensions: &Extensions) -> Result<Self, Refused> {
        extensions.get().cloned().ok_or(Refused::Broken)
    }

    /// Says what only the request itself tells: whose tenant and sandbox it is about.
    pub fn about(&self, tenant: &str, sandbox: &str) {
        let mut entry = self.0.entry.lock();
        tenant.clone_into(&mut entry.tenant);
        sandbox.clone_into(&mut entry.sandbox);
    }

    /// Records that it is allowed; on disk within milliseconds.
    ///
    /// # Errors
    /// [`Refused`]: then it must not happen.
    pub fn allowed(&self) -> Result<(), Refused> {
        self.append(Decision::Allowed, "").map(drop)
    }

    /// Records that it is allowed, and ends once that is on disk: only then may a change have its effect.
    ///
    /// # Errors
    /// [`Refused`]: then it must not happen.
    pub async fn allowed_and_kept(&self) -> Result<(), Refused> {
        self.append(Decision::Allowed, "")?.durable().await
    }

    async fn refused(&self, reason: &str) -> Result<(), Refused> {
        self.append(Decision::Refused, reason)?.durable().await
    }

    fn append(&self, decision: Decision, reason: &str) -> Result<Receipt, Refused> {
        let entry = Entry {
            decision,
            reason: reason.to_owned(),
            ..self.0.entry.lock().clone()
        };
        self.0.log.append(entry)
    }
}

impl Recording {
    /// Records in `log`; what cannot be recorded is answered as `unrecorded` says.
    pub fn new(log: Log, unrecorded: fn(Refused) -> Fault) -> Self {
        Self { log, unrecorded }
    }

    /// Puts the decisions of a service on record.
    pub fn of<S>(&self, service: S) -> Recorded<S> {
        Recorded {
            inner: service,
            recording: self.clone(),
        }
    }
}

/// Callers whom the method table refuses.
#[tonic::async_trait]
impl Refusals for Recording {
    async fn refused(&self, refused: sandgate_rpc::Refused<'_>, refusal: Fault) -> Fault {
        let sandgate_rpc::Refused {
            method,
            peer,
            caller,
        } = refused;
        let entry = Entry {
            reason: refusal.reason().to_owned(),
            ..Entry::of_call(method, peer, caller)
        };
        let kept = match self.log.append(entry) {
            Ok(receipt) => receipt.durable().await,
            Err(error) => Err(error),
        };
        kept.map_or_else(self.unrecorded, |()| refusal)
    }
}

impl<S: NamedService> NamedService for Recorded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Recorded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Recording { log, unrecorded } = self.recording.clone();
        let peer = request.extensions().get().unwrap_or(&Peer::Anonymous);
        let entry = Entry::of_call(request.uri().path(), peer, request.extensions().get());
        let recorder = Recorder(Arc::new(Asked {
            log,
            entry: Mutex::new(entry),
        }));
        request.extensions_mut().insert(recorder.clone());
        let answering = self.inner.call(request);
        Box::pin(async move {
            let answered = answering.await?;
            // A refusal has its status in the head; one in a trailer came after an allowed beginning.
            let status = Status::from_header_map(answered.headers());
            let Some(status) = status.filter(|status| status.code() != Code::Ok) else {
                return Ok(answered);
            };
            let reason = status.get_details_error_info().map(|info| info.reason);
            let reason = reason.unwrap_or_else(|| code_name(status.code()).to_owned());
            match recorder.refused(&reason).await {
                Ok(()) => Ok(answered),
                Err(error) => Ok(Status::from(unrecorded(error)).into_http()),
            }
        })
    }
}
