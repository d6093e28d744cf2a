//! A storage-sync over an in-process pipe, and callers as the gate states them.

mod caller;
mod client;
mod daemon;

use std::path::PathBuf;
use std::time::Duration;

use sandgate_api::storage::v1 as pb;
use sandgate_api::storage::v1::sync_service_client::SyncServiceClient;
use sandgate_api::storage::v1::workspace_service_client::WorkspaceServiceClient;
use sandgate_audit::{Backlog, Record};
use sandgate_db::DatabaseUrl;
use sandgate_rpc::{
    CALLER_METADATA, Caller, Channel, ChannelOptions, Memory, Peer, Principal, Service, Shutdown,
    memory,
};
use sandgate_storage_sync::{Config, Ports, migrate, serve};
use sandgate_testkit::TestClock;
use sandgate_workspace::ChunkingSeed;
use tempfile::TempDir;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

pub(crate) use self::caller::{of_another_sandbox, session, user};
pub(crate) use self::client::{header, listing, of, own, paths, read, reading, write, written};
pub(crate) use self::daemon::{Daemon, Hydrated, directory, entry, file, hash, removed, upsert};

/// A running storage-sync.
pub(crate) struct Harness {
    pub(crate) folder: TempDir,
    pub(crate) clock: TestClock,
    memory: Memory,
    shutdown: Shutdown,
}

/// States a caller, as the gate does.
#[derive(Clone)]
pub(crate) struct As(Option<Caller>);

impl Interceptor for As {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(caller) = &self.0 {
            let bytes = MetadataValue::from_bytes(&caller.to_bytes());
            request.metadata_mut().insert_bin(CALLER_METADATA, bytes);
        }
        Ok(request)
    }
}

type Through = InterceptedService<Channel, As>;
pub(crate) type Workspaces = WorkspaceServiceClient<Through>;
pub(crate) type Sync = SyncServiceClient<Through>;

impl Harness {
    pub(crate) async fn start() -> Self {
        let (folder, clock) = (tempfile::tempdir().expect("a folder"), TestClock::new());
        let url = DatabaseUrl::sqlite(folder.path().join("storage.db"));
        migrate(&url, &clock).await.expect("migrated");
        Self::over(folder, clock).ready().await
    }

    /// Before anybody ran `sandgate init`.
    pub(crate) fn without_database() -> Self {
        Self::over(tempfile::tempdir().expect("a folder"), TestClock::new())
    }

    /// Waits until the database was found.
    async fn ready(self) -> Self {
        let name = pb::WorkspaceName {
            tenant: "t".to_owned(),
            user: "u".to_owned(),
            conversation: "c".to_owned(),
        };
        let mut client = self.orchestrator();
        for _ in 0..10_000 {
            let request = pb::GetWorkspaceRequest {
                workspace: Some(name.clone()),
            };
            match client.get_workspace(request).await {
                Ok(_) => return self,
                Err(status) => assert_eq!(reason(&status), "NOT_READY"),
            }
        }
        panic!("storage-sync does not become ready");
    }

    fn over(folder: TempDir, clock: TestClock) -> Self {
        let (listen, memory) = memory();
        let shutdown = Shutdown::new();
        let config = Config::new(
            DatabaseUrl::sqlite(folder.path().join("storage.db")),
            folder.path().join("objects"),
            folder.path().join("audit"),
        );
        // Nobody collects: what is on record stays on this disk.
        let (_nobody, pipe) = self::memory();
        let ports = Ports {
            mesh: vec![listen],
            orchestrator: pipe.target(Peer::Service(Service::StorageSync)),
        };
        let (shared, ending) = (clock.shared(), shutdown.clone());
        shutdown.spawn("storage-sync", async move {
            serve(config, ports, shared, ending).await.expect("serve");
        });
        Self {
            folder,
            clock,
            memory,
            shutdown,
        }
    }

    /// What is on record.
    pub(crate) fn records(&self) -> Vec<Record> {
        let mut backlog = Backlog::open(&self.folder.path().join("audit")).expect("a folder");
        let batch = backlog.next(1_000).expect("readable");
        batch.map(|batch| batch.records).unwrap_or_default()
    }

    /// Ends it, and starts another on the same state.
    pub(crate) async fn restarted(self) -> Self {
        self.shutdown.begin();
        assert!(self.shutdown.join(Duration::from_secs(10)).await, "it ends");
        Self::over(self.folder, self.clock).ready().await
    }

    pub(crate) fn objects(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.folder.path().join("objects")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path)
                } else {
                    files.push(path)
                }
            }
        }
        files
    }

    fn channel(&self, service: Service) -> Channel {
        Channel::new(
            self.memory.target(Peer::Service(service)),
            ChannelOptions::default(),
        )
    }

    pub(crate) fn workspaces(&self, caller: Caller) -> Workspaces {
        let channel = self.channel(Service::AuthGateway);
        WorkspaceServiceClient::with_interceptor(channel, As(Some(caller)))
    }

    pub(crate) fn sync(&self, caller: Caller) -> Sync {
        let channel = self.channel(Service::AuthGateway);
        SyncServiceClient::with_interceptor(channel, As(Some(caller)))
    }

    pub(crate) fn orchestrator(&self) -> Workspaces {
        let channel = self.channel(Service::Orchestrator);
        WorkspaceServiceClient::with_interceptor(channel, As(None))
    }

    /// A daemon of `ann`'s conversation `c`, with the tenant's seed.
    pub(crate) async fn daemon(&self) -> Daemon {
        self.daemon_of(session("acme", "ann", "c", 1)).await
    }

    pub(crate) async fn daemon_of(&self, caller: Caller) -> Daemon {
        let Principal::Session(session) = &caller.principal else {
            panic!("a session")
        };
        let name = pb::WorkspaceName {
            tenant: caller
                .tenant
                .as_ref()
                .expect("a tenant")
                .as_str()
                .to_owned(),
            user: caller.user.as_ref().expect("a user").as_str().to_owned(),
            conversation: session.conversation.as_str().to_owned(),
        };
        let request = pb::GetWorkspaceRequest {
            workspace: Some(name),
        };
        let answer = self
            .orchestrator()
            .get_workspace(request)
            .await
            .expect("a seed");
        let seed = ChunkingSeed::parse("seed", &answer.into_inner().chunking_seed);
        Daemon {
            sync: self.sync(caller),
            seed: seed.expect("32 bytes"),
        }
    }
}

pub(crate) fn reason(status: &Status) -> String {
    status.get_details_error_info().expect("ErrorInfo").reason
}

pub(crate) fn field(status: &Status) -> String {
    let violations = status
        .get_details_bad_request()
        .expect("BadRequest")
        .field_violations;
    violations.first().expect("a violation").field.clone()
}
