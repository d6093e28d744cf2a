//! A storage-sync over an in-process pipe, and callers as the gate states them.

#![allow(
    dead_code,
    clippy::allow_attributes_without_reason,
    reason = "each test file uses a part of it"
)]

use std::path::PathBuf;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_api::storage::v1 as pb;
use sandgate_api::storage::v1::sync_service_client::SyncServiceClient;
use sandgate_api::storage::v1::workspace_service_client::WorkspaceServiceClient;
use sandgate_audit::{Backlog, Record};
use sandgate_db::DatabaseUrl;
use sandgate_rpc::{
    CALLER_METADATA, Caller, Channel, ChannelOptions, Memory, Peer, Principal, Role, Service,
    SessionCaller, Shutdown, memory,
};
use sandgate_storage_sync::{Config, Ports, migrate, serve};
use sandgate_testkit::TestClock;
use sandgate_types::{
    ApiKeyId, ConversationId, Generation, InstanceId, SandboxId, SessionId, TenantId, TokenId,
    UserId,
};
use sandgate_workspace::{ChunkingSeed, Cutter};
use tempfile::TempDir;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

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
        let backlog = Backlog::open(&self.folder.path().join("audit")).expect("a folder");
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

/// A user with an API key.
pub(crate) fn user(tenant: &str, user: &str) -> Caller {
    Caller {
        tenant: Some(TenantId::parse("tenant", tenant).expect("valid")),
        user: Some(UserId::parse("user", user).expect("valid")),
        may_name_users: false,
        roles: vec![Role::Caller],
        principal: Principal::ApiKey(ApiKeyId::random(&mut StdRng::seed_from_u64(3))),
    }
}

/// The daemon of a sandbox's run.
pub(crate) fn session(tenant: &str, name: &str, conversation: &str, generation: i64) -> Caller {
    let mut fixed = StdRng::seed_from_u64(5);
    Caller {
        roles: vec![Role::Daemon],
        principal: Principal::Session(SessionCaller {
            session: SessionId::random(&mut fixed),
            sandbox: SandboxId::random(&mut fixed),
            instance: InstanceId::random(&mut StdRng::seed_from_u64(generation.unsigned_abs())),
            generation: Generation::parse("generation", generation).expect("positive"),
            conversation: ConversationId::parse("conversation", conversation).expect("valid"),
            token: TokenId::random(&mut fixed),
        }),
        ..user(tenant, name)
    }
}

/// The same daemon in another sandbox.
pub(crate) fn of_another_sandbox(mut caller: Caller) -> Caller {
    let Principal::Session(session) = &mut caller.principal else {
        panic!("a session")
    };
    let mut other = StdRng::seed_from_u64(11);
    session.sandbox = SandboxId::random(&mut other);
    session.instance = InstanceId::random(&mut other);
    caller
}

/// The workspace of the caller's conversation `c`.
pub(crate) fn own() -> Option<pb::WorkspaceName> {
    of("c")
}

pub(crate) fn of(conversation: &str) -> Option<pb::WorkspaceName> {
    Some(pb::WorkspaceName {
        conversation: conversation.to_owned(),
        ..Default::default()
    })
}

/// What a keeper does, over the wire.
pub(crate) struct Daemon {
    pub(crate) sync: Sync,
    pub(crate) seed: ChunkingSeed,
}

/// A hydrated entry: its wire form, and the bytes that came for it by offset.
pub(crate) type Hydrated = Vec<(pb::Entry, Vec<(u64, Vec<u8>)>)>;

impl Daemon {
    pub(crate) fn cut(&self, content: &[u8]) -> Vec<Vec<u8>> {
        let mut cutter = Cutter::new(&self.seed);
        cutter.push(content);
        let mut chunks: Vec<_> = std::iter::from_fn(|| cutter.next_chunk()).collect();
        chunks.extend(std::iter::from_fn(|| cutter.finish()));
        chunks
    }

    pub(crate) async fn begin(&mut self, parent: &str) -> String {
        let request = pb::BeginUploadRequest {
            parent: parent.to_owned(),
        };
        self.sync
            .begin_upload(request)
            .await
            .expect("begun")
            .into_inner()
            .upload_id
    }

    pub(crate) async fn missing(&mut self, upload: &str, chunks: &[Vec<u8>]) -> Vec<u32> {
        let hashes = chunks.iter().map(|chunk| hash(chunk)).collect();
        let request = pb::OfferChunksRequest {
            upload_id: upload.to_owned(),
            hashes,
        };
        self.sync
            .offer_chunks(request)
            .await
            .expect("offered")
            .into_inner()
            .missing
    }

    pub(crate) async fn send(&mut self, upload: &str, chunks: &[Vec<u8>]) -> Result<(), Status> {
        let messages: Vec<_> = chunks
            .chunks(8)
            .map(|chunks| pb::UploadChunksRequest {
                upload_id: upload.to_owned(),
                chunks: chunks.iter().map(|chunk| chunk.clone().into()).collect(),
            })
            .collect();
        self.sync
            .upload_chunks(tokio_stream::iter(messages))
            .await
            .map(drop)
    }

    pub(crate) async fn commit(
        &mut self,
        upload: &str,
        parent: &str,
        changes: Vec<pb::Change>,
    ) -> Result<pb::Version, Status> {
        use pb::commit_version_request::Part;
        let header = pb::CommitHeader {
            upload_id: upload.to_owned(),
            parent: parent.to_owned(),
        };
        let mut messages = vec![pb::CommitVersionRequest {
            part: Some(Part::Header(header)),
        }];
        messages.extend(
            changes
                .chunks(1000)
                .map(|changes| pb::CommitVersionRequest {
                    part: Some(Part::Changes(pb::Changes {
                        changes: changes.to_vec(),
                    })),
                }),
        );
        let answer = self
            .sync
            .commit_version(tokio_stream::iter(messages))
            .await?;
        Ok(answer.into_inner().version.expect("a version"))
    }

    /// Uploads what the changes refer to and commits them.
    pub(crate) async fn sync(&mut self, parent: &str, files: &[(&[u8], &[u8])]) -> pb::Version {
        let upload = self.begin(parent).await;
        let mut changes = Vec::new();
        for (path, content) in files {
            let chunks = self.cut(content);
            self.send(&upload, &chunks).await.expect("sent");
            changes.push(file(path, &chunks));
        }
        self.commit(&upload, parent, changes)
            .await
            .expect("committed")
    }

    pub(crate) async fn hydrate(
        &mut self,
        version: &str,
    ) -> Result<(pb::HydrateHeader, Hydrated), Status> {
        use pb::hydrate_response::Part;
        let request = pb::HydrateRequest {
            version: version.to_owned(),
        };
        let mut stream = self.sync.hydrate(request).await?.into_inner();
        let mut header = None;
        let mut entries: Hydrated = Vec::new();
        let mut done = false;
        while let Some(message) = stream.message().await? {
            assert!(!done, "nothing follows the end");
            match message.part.expect("a part") {
                Part::Header(first) => header = Some(first),
                Part::Entry(entry) => entries.push((entry, Vec::new())),
                Part::Data(data) => {
                    let (_, stretches) = entries.last_mut().expect("an entry before its data");
                    stretches.push((data.offset, data.data.to_vec()));
                }
                Part::Done(_) => done = true,
            }
        }
        assert!(done, "a stream that was not cut says so");
        Ok((header.expect("a header"), entries))
    }
}

pub(crate) fn hash(chunk: &[u8]) -> Vec<u8> {
    blake3::hash(chunk).as_bytes().to_vec()
}

pub(crate) fn file(path: &[u8], chunks: &[Vec<u8>]) -> pb::Change {
    let refs = chunks
        .iter()
        .map(|chunk| pb::ChunkRef {
            hash: hash(chunk),
            length: chunk.len() as u64,
        })
        .collect();
    upsert(pb::Entry {
        size: chunks.iter().map(|chunk| chunk.len() as u64).sum(),
        chunks: refs,
        ..entry(path, pb::EntryKind::File)
    })
}

pub(crate) fn directory(path: &[u8]) -> pb::Change {
    upsert(entry(path, pb::EntryKind::Directory))
}

pub(crate) fn entry(path: &[u8], kind: pb::EntryKind) -> pb::Entry {
    pb::Entry {
        path: path.to_vec(),
        kind: kind.into(),
        mode: 0o640,
        mtime_seconds: 1_600_000_000,
        mtime_nanos: 123_456_789,
        ..Default::default()
    }
}

pub(crate) fn upsert(entry: pb::Entry) -> pb::Change {
    pb::Change {
        change: Some(pb::change::Change::Upsert(entry)),
    }
}

pub(crate) fn removed(path: &[u8]) -> pb::Change {
    pb::Change {
        change: Some(pb::change::Change::Removed(path.to_vec())),
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
