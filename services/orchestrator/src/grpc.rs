//! Proto in, proto out. The only module that names generated messages of our own services.

mod audit;
mod endpoint;
mod instance;
mod quota;
mod sandbox;
mod template;
mod watch;
mod wire;

use std::fmt;
use std::sync::{Arc, OnceLock};

use futures_util::Stream;
use sandgate_api::audit::v1::audit_service_server::AuditServiceServer;
use sandgate_api::orchestrator::v1::endpoint_service_server::EndpointServiceServer;
use sandgate_api::orchestrator::v1::instance_service_server::InstanceServiceServer;
use sandgate_api::orchestrator::v1::quota_service_server::QuotaServiceServer;
use sandgate_api::orchestrator::v1::sandbox_service_server::SandboxServiceServer;
use sandgate_api::orchestrator::v1::template_service_server::TemplateServiceServer;
use sandgate_audit::Entry;
use sandgate_rpc::{
    Caller, Fault, PageToken, Peer, Readiness, Refusals, Refused, Server, Service, Shutdown,
};
use tonic::{Response, Status};

use crate::error;
use crate::life::Life;
use crate::records;

/// What every handler answers.
type Reply<T> = Result<Response<T>, Status>;
/// What every stream of ours is.
type Events<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Callers whom the method table refuses.
#[tonic::async_trait]
impl Refusals for Services {
    async fn refused(&self, refused: Refused<'_>, refusal: Fault) -> Fault {
        let Refused {
            method,
            peer,
            caller,
        } = refused;
        let entry = records::of_refused(method, refusal.reason(), peer, caller);
        self.recorded(entry, refusal).await
    }
}

/// The services, over an orchestrator that may not be there yet.
#[derive(Clone)]
pub(crate) struct Services {
    life: Arc<OnceLock<Arc<Life>>>,
    readiness: Readiness,
    pages: PageToken,
    /// Ends what clients follow.
    shutdown: Shutdown,
    /// Ends what gates follow; later, since sandboxes are still suspended through them.
    gate_end: Shutdown,
}

impl fmt::Debug for Services {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Services").finish_non_exhaustive()
    }
}

impl Services {
    pub(crate) fn new(
        life: Arc<OnceLock<Arc<Life>>>,
        readiness: Readiness,
        pages: PageToken,
        shutdown: Shutdown,
        gate_end: Shutdown,
    ) -> Self {
        Self {
            life,
            readiness,
            pages,
            shutdown,
            gate_end,
        }
    }

    /// Adds all of them to a server.
    pub(crate) fn serve_on(self, server: Server) -> Server {
        server
            .service(SandboxServiceServer::new(self.clone()))
            .service(TemplateServiceServer::new(self.clone()))
            .service(QuotaServiceServer::new(self.clone()))
            .service(EndpointServiceServer::new(self.clone()))
            .service(InstanceServiceServer::new(self.clone()))
            .service(AuditServiceServer::new(self.clone()))
            .recording_refusals(Arc::new(self))
    }

    /// Puts a refusal of a caller on record, and answers what is to be answered then.
    async fn refused(&self, method: &str, caller: &Caller, refusal: Fault) -> Fault {
        let peer = Peer::Service(Service::AuthGateway);
        let entry = records::of_refused(method, refusal.reason(), &peer, Some(caller));
        self.recorded(entry, refusal).await
    }

    async fn recorded(&self, entry: Entry, refusal: Fault) -> Fault {
        let life = match self.life() {
            Ok(life) => life,
            Err(not_ready) => return not_ready,
        };
        match life.store.record(entry).await {
            Ok(()) => refusal,
            Err(error) => error::unrecorded(&error),
        }
    }

    fn life(&self) -> Result<&Arc<Life>, Fault> {
        self.life
            .get()
            .ok_or_else(|| error::not_ready(&self.readiness.missing()))
    }
}
