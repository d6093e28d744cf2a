//! Proto in, proto out. The only module that names generated messages of our own services.

mod audit;
mod endpoint;
mod instance;
mod sandbox;
mod template;
mod watch;
mod wire;

use std::sync::{Arc, OnceLock};

use futures_util::Stream;
use sandgate_api::audit::v1::audit_service_server::AuditServiceServer;
use sandgate_api::orchestrator::v1::endpoint_service_server::EndpointServiceServer;
use sandgate_api::orchestrator::v1::instance_service_server::InstanceServiceServer;
use sandgate_api::orchestrator::v1::sandbox_service_server::SandboxServiceServer;
use sandgate_api::orchestrator::v1::template_service_server::TemplateServiceServer;
use sandgate_rpc::{Fault, PageToken, Readiness, Server, Shutdown};
use tonic::{Response, Status};

use crate::error;
use crate::life::Life;

/// What every handler answers.
type Reply<T> = Result<Response<T>, Status>;
/// What every stream of ours is.
type Events<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

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
            .service(EndpointServiceServer::new(self.clone()))
            .service(InstanceServiceServer::new(self.clone()))
            .service(AuditServiceServer::new(self))
    }

    fn life(&self) -> Result<&Arc<Life>, Fault> {
        self.life
            .get()
            .ok_or_else(|| error::not_ready(&self.readiness.missing()))
    }
}
