//! A server of one service whose answer the test writes, for tests of what happens around it.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

use std::pin::Pin;
use std::sync::Arc;

use sandgate_api::orchestrator::v1::endpoint_service_client::EndpointServiceClient;
use sandgate_api::orchestrator::v1::endpoint_service_server::{
    EndpointService, EndpointServiceServer,
};
use sandgate_api::orchestrator::v1::{
    ReportActivityRequest, ReportActivityResponse, WatchEndpointsRequest, WatchEndpointsResponse,
};
use sandgate_rpc::{
    Channel, ChannelOptions, Listen, Peer, Readiness, Server, ServerOptions, Service, Shutdown,
    Target,
};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

pub type Reply<T> = Result<Response<T>, Status>;
type Answering = Pin<Box<dyn Future<Output = Reply<ReportActivityResponse>> + Send>>;
pub type Watched = Pin<Box<dyn Stream<Item = Result<WatchEndpointsResponse, Status>> + Send>>;

/// What the service answers.
#[derive(Clone)]
pub struct Handler {
    report: Arc<dyn Fn() -> Answering + Send + Sync>,
    watch: Arc<dyn Fn() -> Watched + Send + Sync>,
}

impl Handler {
    /// Answers reports as told, and a watch by silence.
    pub fn reporting<F>(report: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let report = move || -> Answering {
            let answer = report();
            Box::pin(async move {
                answer.await?;
                Ok(Response::new(ReportActivityResponse {}))
            })
        };
        Self {
            report: Arc::new(report),
            watch: Arc::new(|| Box::pin(tokio_stream::pending())),
        }
    }

    /// Answers a watch as told, and reports with success.
    pub fn watching(watch: impl Fn() -> Watched + Send + Sync + 'static) -> Self {
        Self {
            watch: Arc::new(watch),
            ..Self::reporting(|| async { Ok(()) })
        }
    }

    /// Serves until the shutdown begins, with the usual options.
    pub fn serve(self, listen: Listen, shutdown: &Shutdown) {
        self.serve_with(ServerOptions::new(Readiness::new()), listen, shutdown);
    }

    /// Serves until the shutdown begins.
    pub fn serve_with(self, options: ServerOptions, listen: Listen, shutdown: &Shutdown) {
        let server = Server::new(options).service(EndpointServiceServer::new(self));
        let serving = shutdown.clone();
        shutdown.spawn("server", async move {
            server.serve(vec![listen], &serving).await.expect("serve");
        });
    }
}

#[tonic::async_trait]
impl EndpointService for Handler {
    type WatchEndpointsStream = Watched;

    async fn watch_endpoints(
        &self,
        _request: Request<WatchEndpointsRequest>,
    ) -> Reply<Self::WatchEndpointsStream> {
        Ok(Response::new((self.watch)()))
    }

    async fn report_activity(
        &self,
        _request: Request<ReportActivityRequest>,
    ) -> Reply<ReportActivityResponse> {
        (self.report)().await
    }
}

/// A client of the service at `target`.
pub fn client(target: Target, retries: bool) -> EndpointServiceClient<Channel> {
    EndpointServiceClient::new(Channel::new(target, ChannelOptions { retries }))
}

/// The peer that may call the service.
pub fn gate() -> Peer {
    Peer::Service(Service::AuthGateway)
}
