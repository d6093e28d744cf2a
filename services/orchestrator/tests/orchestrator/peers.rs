//! Token, storage-sync and the keeper behind the gate: what they are asked is kept, and what they answer is
//! a test's to say.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use sandgate_api::sandbox::v1 as sandbox;
use sandgate_api::storage::v1 as storage;
use sandgate_api::token::v1 as token;
use sandgate_rpc::{
    Listen, Memory, Peer, Readiness, Server, ServerOptions, Service, Shutdown, Target, memory,
};
use tokio::sync::watch;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Request, Response, Status};
use tower_service::Service as TowerService;

/// All three peers.
#[derive(Clone)]
pub(crate) struct FakePeers {
    pub(crate) script: Arc<Script>,
}

pub(crate) struct Script {
    /// Each call, by its step: `mint`, `head`, `attach`, `drain`, `revoke-agent`, `sync`, `revoke-instance`.
    calls: watch::Sender<Vec<String>>,
    /// Steps that fail, and how often; `usize::MAX` for always.
    failing: Mutex<BTreeMap<&'static str, usize>>,
    /// Steps that wait until they are let go.
    held: watch::Sender<BTreeSet<&'static str>>,
    /// The version with which workspaces begin.
    pub(crate) head: Mutex<Option<String>>,
    /// The version that the last sync makes.
    pub(crate) synced: Mutex<String>,
    /// How many entries the last sync leaves out.
    pub(crate) skipped: Mutex<u64>,
    /// What Attach was given.
    pub(crate) attached: Mutex<Vec<sandbox::AttachRequest>>,
}

impl FakePeers {
    pub(crate) fn new() -> Self {
        Self {
            script: Arc::new(Script {
                calls: watch::Sender::new(Vec::new()),
                failing: Mutex::new(BTreeMap::new()),
                held: watch::Sender::new(BTreeSet::new()),
                head: Mutex::new(None),
                synced: Mutex::new(String::new()),
                skipped: Mutex::new(0),
                attached: Mutex::new(Vec::new()),
            }),
        }
    }

    pub(crate) fn fail(&self, step: &'static str, times: usize) {
        self.script.failing.lock().insert(step, times);
    }

    pub(crate) fn hold(&self, step: &'static str) {
        self.script.held.send_modify(|held| {
            held.insert(step);
        });
    }

    pub(crate) fn let_go(&self, step: &'static str) {
        self.script.held.send_modify(|held| {
            held.remove(step);
        });
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        self.script.calls.borrow().clone()
    }

    /// How often a step was asked for.
    pub(crate) fn times(&self, step: &str) -> usize {
        let calls = self.script.calls.borrow();
        calls.iter().filter(|call| *call == step).count()
    }

    /// Waits until a step was asked for.
    pub(crate) async fn asked(&self, step: &str) {
        self.asked_times(step, 1).await;
    }

    /// Waits until a step was asked for so many times.
    pub(crate) async fn asked_times(&self, step: &str, times: usize) {
        let mut calls = self.script.calls.subscribe();
        calls
            .wait_for(|calls| calls.iter().filter(|call| *call == step).count() >= times)
            .await
            .expect("the script lives");
    }

    /// Serves all of it on one pipe, as the orchestrator's peer.
    pub(crate) fn serve(&self, shutdown: &Shutdown) -> Target {
        let (listen, pipe): (Listen, Memory) = memory();
        let fake = |name| Fake {
            script: Arc::clone(&self.script),
            name,
        };
        let server = Server::new(ServerOptions::new(Readiness::new()))
            .service(Tokens(fake("token")))
            .service(Revocations(fake("token")))
            .service(Workspaces(fake("storage")))
            .service(Attaches(fake("keeper")))
            .service(Files(fake("keeper")));
        let end = shutdown.clone();
        shutdown.spawn("peers", async move {
            server
                .serve(vec![listen], &end)
                .await
                .expect("the peers serve");
        });
        pipe.target(Peer::Service(Service::Orchestrator))
    }
}

#[derive(Clone)]
struct Fake {
    script: Arc<Script>,
    #[expect(dead_code, reason = "names the peer in a debugger")]
    name: &'static str,
}

impl Fake {
    async fn step(&self, step: &'static str) -> Result<(), Status> {
        self.script
            .calls
            .send_modify(|calls| calls.push(step.to_owned()));
        let mut held = self.script.held.subscribe();
        held.wait_for(|held| !held.contains(step))
            .await
            .expect("the script lives");
        let mut failing = self.script.failing.lock();
        match failing.get_mut(step) {
            None | Some(0) => Ok(()),
            Some(times) => {
                if *times != usize::MAX {
                    *times -= 1;
                }
                Err(Status::failed_precondition(format!("{step} fails as told")))
            }
        }
    }
}

/// A service of which a test uses one or two methods.
macro_rules! fake {
    ($name:ident, $full:literal, { $($method:literal => $handler:ident($request:ty) -> $response:ty,)* }) => {
        #[derive(Clone)]
        struct $name(Fake);

        impl NamedService for $name {
            const NAME: &'static str = $full;
        }

        impl TowerService<http::Request<Body>> for $name {
            type Response = http::Response<Body>;
            type Error = Infallible;
            type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: http::Request<Body>) -> Self::Future {
                let fake = self.0.clone();
                Box::pin(async move {
                    match request.uri().path() {
                        $(concat!("/", $full, "/", $method) => {
                            #[derive(Clone)]
                            struct Handler(Fake);
                            impl tonic::server::UnaryService<$request> for Handler {
                                type Response = $response;
                                type Future = BoxFuture<'static, Result<Response<$response>, Status>>;
                                fn call(&mut self, request: Request<$request>) -> Self::Future {
                                    let fake = self.0.clone();
                                    Box::pin(async move { fake.$handler(request).await.map(Response::new) })
                                }
                            }
                            let codec = tonic_prost::ProstCodec::<$response, $request>::default();
                            Ok(tonic::server::Grpc::new(codec).unary(Handler(fake), request).await)
                        })*
                        _ => Ok(Status::unimplemented("not scripted").into_http()),
                    }
                })
            }
        }
    };
}

fake!(Tokens, "sandgate.token.v1.TokenService", {
    "MintSession" => mint(token::MintSessionRequest) -> token::MintSessionResponse,
});
fake!(Revocations, "sandgate.token.v1.RevocationService", {
    "Revoke" => revoke(token::RevokeRequest) -> token::RevokeResponse,
});
fake!(Workspaces, "sandgate.storage.v1.WorkspaceService", {
    "GetWorkspace" => head(storage::GetWorkspaceRequest) -> storage::GetWorkspaceResponse,
});
fake!(Attaches, "sandgate.sandbox.v1.AttachService", {
    "Attach" => attach(sandbox::AttachRequest) -> sandbox::AttachResponse,
    "Drain" => drain(sandbox::DrainRequest) -> sandbox::DrainResponse,
});
fake!(Files, "sandgate.sandbox.v1.FileService", {
    "SyncFiles" => sync(sandbox::SyncFilesRequest) -> sandbox::SyncFilesResponse,
});

impl Fake {
    async fn mint(
        &self,
        request: Request<token::MintSessionRequest>,
    ) -> Result<token::MintSessionResponse, Status> {
        self.step("mint").await?;
        assert!(request.get_ref().generation >= 1);
        let tokens = token::TokenPair {
            agent_token: "agent-canary".into(),
            daemon_token: "daemon-canary".into(),
            expires_at: None,
        };
        Ok(token::MintSessionResponse {
            tokens: Some(tokens),
            ticket: "ticket-canary".into(),
        })
    }

    async fn revoke(
        &self,
        request: Request<token::RevokeRequest>,
    ) -> Result<token::RevokeResponse, Status> {
        let target = request.into_inner().target.expect("a target");
        match target.scope.expect("a scope") {
            token::revocation_target::Scope::AgentOfInstanceId(_) => {
                self.step("revoke-agent").await?
            }
            token::revocation_target::Scope::InstanceId(_) => self.step("revoke-instance").await?,
            other @ (token::revocation_target::Scope::TokenId(_)
            | token::revocation_target::Scope::SandboxId(_)
            | token::revocation_target::Scope::Conversation(_)
            | token::revocation_target::Scope::User(_)
            | token::revocation_target::Scope::WholeTenant(_)
            | token::revocation_target::Scope::ApiKeyId(_)
            | token::revocation_target::Scope::SessionsBefore(_)) => {
                panic!("nobody revokes {other:?}")
            }
        }
        Ok(token::RevokeResponse::default())
    }

    async fn head(
        &self,
        _: Request<storage::GetWorkspaceRequest>,
    ) -> Result<storage::GetWorkspaceResponse, Status> {
        self.step("head").await?;
        let head = self.script.head.lock().clone();
        let head = head.map(|version| storage::Version {
            version,
            ..storage::Version::default()
        });
        Ok(storage::GetWorkspaceResponse {
            head,
            chunking_seed: vec![7; 32],
        })
    }

    async fn attach(
        &self,
        request: Request<sandbox::AttachRequest>,
    ) -> Result<sandbox::AttachResponse, Status> {
        assert!(request.metadata().contains_key("x-instance-id"));
        self.step("attach").await?;
        self.script.attached.lock().push(request.into_inner());
        Ok(sandbox::AttachResponse {})
    }

    async fn drain(
        &self,
        request: Request<sandbox::DrainRequest>,
    ) -> Result<sandbox::DrainResponse, Status> {
        assert!(request.metadata().contains_key("x-instance-id"));
        self.step("drain").await?;
        Ok(sandbox::DrainResponse {
            command_exit_code: None,
        })
    }

    async fn sync(
        &self,
        request: Request<sandbox::SyncFilesRequest>,
    ) -> Result<sandbox::SyncFilesResponse, Status> {
        assert!(request.metadata().contains_key("x-instance-id"));
        self.step("sync").await?;
        let version = self.script.synced.lock().clone();
        if !version.is_empty() {
            *self.script.head.lock() = Some(version.clone());
        }
        Ok(sandbox::SyncFilesResponse {
            version,
            skipped: *self.script.skipped.lock(),
        })
    }
}
