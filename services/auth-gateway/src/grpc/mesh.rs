//! What the mesh listener serves for the orchestrator: Attach, Drain and a last sync, passed on to the keeper
//! over the instance's serve link.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::{HeaderName, HeaderValue};
use hyper::body::Incoming;
use sandgate_api::sandbox::v1 as pb;
use sandgate_api::sandbox::v1::attach_service_client::AttachServiceClient;
use sandgate_api::sandbox::v1::attach_service_server::AttachService;
use sandgate_api::sandbox::v1::file_service_client::FileServiceClient;
use sandgate_api::sandbox::v1::file_service_server::FileService;
use sandgate_rpc::{CALLER_METADATA, Caller, Service};
use sandgate_session::Audience;
use sandgate_types::{Generation, InstanceId};
use tokio_stream::Empty;
use tonic::body::Body;
use tonic::codegen::http::{Request as HttpRequest, Response as HttpResponse};
use tonic::{Request, Response, Status, Streaming};

use crate::crash::crash_point;
use crate::gate::Gate;
use crate::mesh::{self, AttachRefusal};
use crate::refusal::Refusal;

/// The metadata entry by which the orchestrator names the instance.
const INSTANCE: &str = "x-instance-id";
/// How long Attach waits for a key that is not in the list; the list is read once a second at most.
const KEYS_WAIT: Duration = Duration::from_secs(3);
/// How long Attach waits for the feed to say that the instance is live.
const FEED_WAIT: Duration = Duration::from_secs(5);

/// Passes calls of the orchestrator on.
#[derive(Debug, Clone)]
pub(crate) struct Mesh {
    gate: Arc<Gate>,
}

/// The serve link of one instance, for generated clients.
#[derive(Clone)]
struct Serve {
    gate: Arc<Gate>,
    instance: InstanceId,
}

impl Mesh {
    pub(crate) fn new(gate: Arc<Gate>) -> Self {
        Self { gate }
    }

    fn link<T>(&self, request: &Request<T>) -> Result<Serve, Status> {
        let mut named = request.metadata().get_all(INSTANCE).iter();
        let instance = match (named.next(), named.next()) {
            (Some(text), None) => text.to_str().ok(),
            (Some(_), Some(_)) | (None, _) => None,
        };
        let instance = instance.and_then(|text| InstanceId::parse(INSTANCE, text).ok());
        let instance = instance.ok_or_else(|| Status::from(&AttachRefusal::InstanceUnnamed))?;
        Ok(Serve {
            gate: Arc::clone(&self.gate),
            instance,
        })
    }
}

/// The same message, for the keeper; the deadline is passed on, nothing else of the metadata.
fn onward<T>(metadata: &tonic::metadata::MetadataMap, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(timeout) = metadata.get("grpc-timeout") {
        request
            .metadata_mut()
            .insert("grpc-timeout", timeout.clone());
    }
    request
}

#[tonic::async_trait]
impl AttachService for Mesh {
    async fn attach(
        &self,
        request: Request<pb::AttachRequest>,
    ) -> Result<Response<pb::AttachResponse>, Status> {
        let link = self.link(&request)?;
        let (metadata, _, mut message) = request.into_parts();
        let generation = Generation::parse("generation", message.generation)
            .map_err(sandgate_rpc::Fault::from)?;
        let (verifier, ticket) = mesh::verify_ticket(&self.gate, &message.ticket, KEYS_WAIT)
            .await
            .map_err(|refusal| Status::from(&refusal))?;
        let now = self.gate.clock.now();
        let refuse = |refusal| Status::from(&AttachRefusal::Token(refusal));
        ticket
            .check_instance(&link.instance, generation)
            .map_err(refuse)?;
        let agent = verifier.verify(&message.agent_token, Audience::Agent, now);
        let daemon = verifier.verify(&message.daemon_token, Audience::Daemon, now);
        let (agent, daemon) = (agent.map_err(refuse)?, daemon.map_err(refuse)?);
        for verified in [&agent, &daemon] {
            let claims = &verified.claims;
            claims
                .check_instance(&link.instance, generation)
                .map_err(refuse)?;
            if claims.session != ticket.session || claims.sandbox != ticket.sandbox {
                return Err(Status::from(&AttachRefusal::OtherSession));
            }
            if !claims.policy_revision.is_known() {
                return Err(Status::from(&AttachRefusal::PolicyRevisionUnknown));
            }
        }
        mesh::wait_until_live(&self.gate, &agent.claims, FEED_WAIT)
            .await
            .map_err(|refusal| Status::from(&refusal))?;
        let routes = self.gate.policies.http_routes_of(&agent.claims);
        message.routes = routes
            .iter()
            .map(|route| route.as_str().to_owned())
            .collect();
        crash_point!("gate-attach-checked");
        AttachServiceClient::new(link)
            .attach(onward(&metadata, message))
            .await
    }

    async fn drain(
        &self,
        request: Request<pb::DrainRequest>,
    ) -> Result<Response<pb::DrainResponse>, Status> {
        let link = self.link(&request)?;
        let (metadata, _, message) = request.into_parts();
        AttachServiceClient::new(link)
            .drain(onward(&metadata, message))
            .await
    }
}

/// A method of files that clients reach through the client listener, and nobody here.
fn elsewhere<T>() -> Result<Response<T>, Status> {
    Err(Status::from(&Refusal::MethodUnknown))
}

#[tonic::async_trait]
impl FileService for Mesh {
    type ReadFileStream = Empty<Result<pb::ReadFileResponse, Status>>;
    type WatchFilesStream = Empty<Result<pb::WatchFilesResponse, Status>>;

    async fn sync_files(
        &self,
        request: Request<pb::SyncFilesRequest>,
    ) -> Result<Response<pb::SyncFilesResponse>, Status> {
        let link = self.link(&request)?;
        let (metadata, _, message) = request.into_parts();
        FileServiceClient::new(link)
            .sync_files(onward(&metadata, message))
            .await
    }

    async fn read_file(
        &self,
        _request: Request<pb::ReadFileRequest>,
    ) -> Result<Response<Self::ReadFileStream>, Status> {
        elsewhere()
    }

    async fn write_file(
        &self,
        _request: Request<Streaming<pb::WriteFileRequest>>,
    ) -> Result<Response<pb::WriteFileResponse>, Status> {
        elsewhere()
    }

    async fn list_directory(
        &self,
        _request: Request<pb::ListDirectoryRequest>,
    ) -> Result<Response<pb::ListDirectoryResponse>, Status> {
        elsewhere()
    }

    async fn stat_file(
        &self,
        _request: Request<pb::StatFileRequest>,
    ) -> Result<Response<pb::StatFileResponse>, Status> {
        elsewhere()
    }

    async fn make_directory(
        &self,
        _request: Request<pb::MakeDirectoryRequest>,
    ) -> Result<Response<pb::MakeDirectoryResponse>, Status> {
        elsewhere()
    }

    async fn move_file(
        &self,
        _request: Request<pb::MoveFileRequest>,
    ) -> Result<Response<pb::MoveFileResponse>, Status> {
        elsewhere()
    }

    async fn remove_file(
        &self,
        _request: Request<pb::RemoveFileRequest>,
    ) -> Result<Response<pb::RemoveFileResponse>, Status> {
        elsewhere()
    }

    async fn watch_files(
        &self,
        _request: Request<pb::WatchFilesRequest>,
    ) -> Result<Response<Self::WatchFilesStream>, Status> {
        elsewhere()
    }
}

impl tower_service::Service<HttpRequest<Body>> for Serve {
    type Response = HttpResponse<Incoming>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: HttpRequest<Body>) -> Self::Future {
        let headers = request.headers_mut();
        sandgate_telemetry::propagation::inject_current(headers);
        let caller = Caller::service(Service::Orchestrator).to_bytes();
        let caller = tonic::metadata::BinaryMetadataValue::from_bytes(&caller);
        if let Ok(value) = HeaderValue::from_bytes(caller.as_encoded_bytes()) {
            headers.insert(HeaderName::from_static(CALLER_METADATA), value);
        }
        let Self { gate, instance } = self.clone();
        Box::pin(async move {
            let sent = gate.links.send(&instance, request).await;
            sent.map_err(|refusal| Status::from(&refusal))
        })
    }
}
