//! The client listener: people and programs, by API key.
//!
//! Methods of our services go to their service, methods of sandboxes to the sandbox that `x-sandbox-id` names,
//! where the feed says that it is live and the caller's. What a caller may not use is not there.

mod admission;
mod met;
mod serve;

use std::sync::Arc;

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use sandgate_policy::{is_grpc, only};
use sandgate_rpc::Role;
use sandgate_session::lease::Moment;
use sandgate_types::SandboxId;
use tonic::body::Body;
use tonic::service::Routes;
use tower_service::Service as _;
use tracing::Instrument as _;

use crate::crash::crash_point;
use crate::endpoints::Endpoint;
use crate::error::{self, Dialect};
use crate::forward;
use crate::gate::Gate;
use crate::headers;
use crate::keys::Holder;
use crate::observe::{self, Listener};
use crate::records::Who;
use crate::refusal::Refusal;
use crate::streams::{Reached, Subject};

pub(crate) use admission::{Admission, Way};
pub(crate) use met::{Met, Origin};
pub(crate) use serve::{Taking, serve};

/// The metadata entry that names a sandbox.
const SANDBOX: &str = "x-sandbox-id";
/// What sandboxes serve.
const SANDBOX_PACKAGE: &str = "/sandgate.sandbox.v1.";
/// Served without a key: whether the gate is ready, and what its methods are.
const OPEN: [&str; 3] = [
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
];

/// What answers clients.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    pub(crate) gate: Arc<Gate>,
    /// Health and reflection.
    pub(crate) open: Routes,
}

impl Clients {
    /// Answers one request.
    pub(crate) async fn answer(&self, request: Request<Incoming>, met: &Met) -> Response<Body> {
        let path = request.uri().path();
        if OPEN.iter().any(|open| path.starts_with(open)) {
            let mut open = self.open.clone();
            return match open.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
        }
        let dialect = if is_grpc(request.headers()) {
            Dialect::Grpc
        } else {
            Dialect::Http
        };
        let (head, body) = request.into_parts();
        let mut who = Who {
            action: action_of(head.uri.path()),
            request: self.gate.next_request(),
            origin: Some(met.from),
            ..Who::default()
        };
        let observed = observe::begin(Listener::Client, &head, &who.request);
        let request = Request::from_parts(head, body);
        let served = self
            .serve(request, dialect, met, &mut who)
            .instrument(observed.span.clone())
            .await;
        let instruments = &self.gate.instruments;
        match served {
            Ok(response) => {
                instruments.decided(&observed, &who, None);
                response
            }
            Err(refusal) => {
                let refusal = self.gate.records.refused(&who, refusal).await;
                instruments.decided(&observed, &who, Some(&refusal));
                let mut refused = error::answer(&refusal, dialect);
                who.name(refused.headers_mut());
                refused
            }
        }
    }

    async fn serve(
        &self,
        request: Request<Incoming>,
        dialect: Dialect,
        met: &Met,
        who: &mut Who,
    ) -> Result<Response<Body>, Refusal> {
        let gate = &self.gate;
        if request.method() == http::Method::CONNECT || dialect != Dialect::Grpc {
            return Err(Refusal::NotGrpc);
        }
        let secret = headers::bearer(request.headers()).ok_or(Refusal::KeyMissing)?;
        let now = Moment::now();
        gate.check_lease(now)?;
        let holder = gate.api_keys.holder(secret, now, gate.clock.now()).await?;
        met.is_known_now();
        who.tenant = holder.tenant.as_str().to_owned();
        who.principal = holder.key.as_str().to_owned();
        let path = request.uri().path().to_owned();
        authorize(&path, &holder)?;
        if path.starts_with(SANDBOX_PACKAGE) {
            self.to_sandbox(request, &path, &holder, who).await
        } else {
            self.to_service(request, &path, &holder, who).await
        }
    }

    async fn to_service(
        &self,
        request: Request<Incoming>,
        path: &str,
        holder: &Holder,
        who: &Who,
    ) -> Result<Response<Body>, Refusal> {
        let gate = &self.gate;
        let service = gate.services.of(path).ok_or(Refusal::MethodUnknown)?;
        let taken = gate.tenant_rate.take(&holder.tenant);
        taken.map_err(|wait| Refusal::TenantRateLimited { wait })?;
        let open = gate
            .streams
            .open(&holder.tenant, subject_of(holder, None))?;
        let open = Arc::new(open);
        self.check(holder)?;
        if is_reading(path) {
            gate.records.allowed(who)?;
        } else {
            crash_point!("gate-control-decided");
            gate.records.allowed_and_kept(who).await?;
            crash_point!("gate-control-recorded");
        }
        let call = forward::call_of(request, &holder.caller().to_bytes(), &who.request, &open);
        let answer = service.clone().call(call);
        forward::answer_of(answer, forward::head_limit(path), open).await
    }

    async fn to_sandbox(
        &self,
        request: Request<Incoming>,
        path: &str,
        holder: &Holder,
        who: &mut Who,
    ) -> Result<Response<Body>, Refusal> {
        let gate = &self.gate;
        let sandbox = sandbox_of(request.headers())?;
        who.sandbox = sandbox.as_str().to_owned();
        gate.check_endpoints(Moment::now())?;
        let reached = self.reach(&sandbox, holder)?;
        let open = gate
            .streams
            .open(&holder.tenant, subject_of(holder, Some(reached.clone())))?;
        let open = Arc::new(open);
        self.check(holder)?;
        // Asked again, now that a change would cut the stream.
        if self.reach(&sandbox, holder)? != reached {
            return Err(Refusal::SandboxUnknown);
        }
        gate.check_endpoints(Moment::now())?;
        gate.records.allowed(who)?;
        gate.activity
            .note(&reached.instance, &sandbox, gate.clock.now());
        let call = forward::call_of(request, &holder.caller().to_bytes(), &who.request, &open);
        let answer = gate.links.send(&reached.instance, call);
        forward::answer_of(answer, forward::head_limit(path), open).await
    }

    /// What may have changed while the key was looked up.
    fn check(&self, holder: &Holder) -> Result<(), Refusal> {
        self.gate.check_lease(Moment::now())?;
        if self.gate.trust.is_key_revoked(&holder.key) {
            return Err(Refusal::KeyRefused);
        }
        Ok(())
    }

    /// Where a sandbox of the holder's is. One of another tenant or user is not there.
    fn reach(&self, sandbox: &SandboxId, holder: &Holder) -> Result<Reached, Refusal> {
        let found = self.gate.endpoints.of_sandbox(sandbox);
        let (instance, endpoint) = found.ok_or(Refusal::SandboxUnknown)?;
        let serving = Endpoint::live(&endpoint).ok_or(Refusal::SandboxUnknown)?;
        let theirs = serving.tenant == holder.tenant
            && holder
                .user
                .as_ref()
                .is_none_or(|user| *user == serving.user);
        if !theirs {
            return Err(Refusal::SandboxUnknown);
        }
        Ok(Reached {
            sandbox: sandbox.clone(),
            instance,
            generation: serving.generation,
        })
    }
}

fn subject_of(holder: &Holder, target: Option<Reached>) -> Subject {
    Subject::Key {
        key: holder.key.clone(),
        target,
    }
}

/// An RPC's full name, as the audit log has it; whatever is none of ours is not repeated.
fn action_of(path: &str) -> String {
    match sandgate_api::find(path) {
        Some(method) => method.path.trim_start_matches('/').to_owned(),
        None => "unknown".to_owned(),
    }
}

/// How the methods begin that change nothing.
const READING: [&str; 4] = ["Get", "List", "Read", "Watch"];

/// Whether a method changes nothing, so that its record need not be on disk before it is passed on.
fn is_reading(path: &str) -> bool {
    let method = path.rsplit('/').next().unwrap_or(path);
    READING.iter().any(|verb| method.starts_with(verb))
}

/// Whether a holder may call a method at all. A method for services or daemons is none of this listener.
fn authorize(path: &str, holder: &Holder) -> Result<(), Refusal> {
    let method = sandgate_api::find(path).ok_or(Refusal::MethodUnknown)?;
    let access = method.access.as_ref().ok_or(Refusal::MethodUnknown)?;
    let clients = [Role::Caller, Role::Operator, Role::Admin];
    if !clients.iter().any(|role| access.allows_role(*role)) {
        return Err(Refusal::MethodUnknown);
    }
    let has = |role: &&Role| clients.contains(role) && access.allows_role(**role);
    if holder.roles.iter().any(|role| has(&role)) {
        Ok(())
    } else {
        Err(Refusal::RoleMissing)
    }
}

fn sandbox_of(headers: &HeaderMap) -> Result<SandboxId, Refusal> {
    let text = only(headers, SANDBOX).map_err(|_| Refusal::SandboxUnnamed)?;
    let text = text.ok_or(Refusal::SandboxUnnamed)?;
    SandboxId::parse(SANDBOX, text).map_err(|_| Refusal::SandboxUnnamed)
}

#[cfg(test)]
mod tests;
