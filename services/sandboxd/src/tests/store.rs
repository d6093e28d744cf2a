//! What the keeper calls through the gate: a store of workspaces, token and orchestrator, as small as can be.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use parking_lot::Mutex;
use sandgate_api::orchestrator::v1 as orchestrator;
use sandgate_api::orchestrator::v1::instance_service_server::InstanceService;
use sandgate_api::orchestrator::v1::report_instance_request::Event;
use sandgate_api::storage::v1 as pb;
use sandgate_api::storage::v1::change::Change;
use sandgate_api::storage::v1::commit_version_request::Part as CommitPart;
use sandgate_api::storage::v1::hydrate_response::Part;
use sandgate_api::storage::v1::sync_service_server::SyncService;
use sandgate_api::token::v1 as token;
use sandgate_api::token::v1::token_service_server::TokenService;
use sandgate_types::{Clock as _, SystemClock};
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

/// The mesh as a keeper sees it.
#[derive(Debug, Clone, Default)]
pub(super) struct Mesh(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    reports: watch::Sender<Vec<Event>>,
}

#[derive(Debug, Default)]
struct State {
    /// Each version: its number is its place, from one on.
    versions: Vec<BTreeMap<Vec<u8>, pb::Entry>>,
    chunks: HashMap<Vec<u8>, Vec<u8>>,
    uploaded: usize,
    begun: usize,
    authorizations: Vec<String>,
    renewals: usize,
    /// Moves the head by itself before the next commit.
    interferes: Option<pb::Entry>,
    /// Refuses everything.
    down: bool,
}

impl State {
    fn head(&self) -> String {
        name(self.versions.len())
    }
}

fn name(number: usize) -> String {
    if number == 0 {
        String::new()
    } else {
        format!("v{number:025}")
    }
}

impl Mesh {
    /// The newest version's entries.
    pub(super) fn newest(&self) -> BTreeMap<Vec<u8>, pb::Entry> {
        self.0
            .state
            .lock()
            .versions
            .last()
            .cloned()
            .unwrap_or_default()
    }

    pub(super) fn head(&self) -> String {
        self.0.state.lock().head()
    }

    /// The content of a file of the newest version; holes are zeros.
    pub(super) fn content(&self, path: &str) -> Vec<u8> {
        let state = self.0.state.lock();
        let entry = state
            .versions
            .last()
            .and_then(|version| version.get(path.as_bytes()))
            .expect("an entry");
        let pieces = entry
            .chunks
            .iter()
            .map(|chunk| match chunk.hash.is_empty() {
                true => vec![0; usize::try_from(chunk.length).expect("a test's hole is small")],
                false => state
                    .chunks
                    .get(&chunk.hash)
                    .expect("a stored chunk")
                    .clone(),
            });
        pieces.collect::<Vec<_>>().concat()
    }

    /// How many chunks were sent.
    pub(super) fn uploaded(&self) -> usize {
        self.0.state.lock().uploaded
    }

    /// Makes a version that somebody else wrote, and answers its name.
    pub(super) fn write(&self, entries: &[(pb::Entry, &[u8])]) -> String {
        let mut state = self.0.state.lock();
        let mut version = state.versions.last().cloned().unwrap_or_default();
        for (entry, content) in entries {
            let mut entry = entry.clone();
            if !content.is_empty() {
                let hash = blake3::hash(content).as_bytes().to_vec();
                state.chunks.insert(hash.clone(), content.to_vec());
                entry.size = content.len() as u64;
                entry.chunks = vec![pb::ChunkRef {
                    hash,
                    length: content.len() as u64,
                }];
            }
            version.insert(entry.path.clone(), entry);
        }
        state.versions.push(version);
        state.head()
    }

    /// Lets somebody else write `entry` right before the next commit.
    pub(super) fn interfere(&self, entry: pb::Entry) {
        self.0.state.lock().interferes = Some(entry);
    }

    /// Whether everything is refused from now on.
    pub(super) fn set_down(&self, down: bool) {
        self.0.state.lock().down = down;
    }

    /// The authorizations of all calls.
    pub(super) fn authorizations(&self) -> Vec<String> {
        self.0.state.lock().authorizations.clone()
    }

    /// How often tokens were renewed.
    pub(super) fn renewals(&self) -> usize {
        self.0.state.lock().renewals
    }

    /// Waits for a report that fits.
    pub(super) async fn reported<T>(&self, fits: impl Fn(&Event) -> Option<T>) -> T {
        let mut reports = self.0.reports.subscribe();
        let found = reports.wait_for(|reports| reports.iter().any(|event| fits(event).is_some()));
        let found = tokio::time::timeout(super::harness::NEVER, found)
            .await
            .expect("a report comes")
            .expect("it does");
        found.iter().find_map(fits).expect("just seen")
    }

    fn enter<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let mut state = self.0.state.lock();
        let value = request
            .metadata()
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        state
            .authorizations
            .push(value.unwrap_or_default().to_owned());
        if state.down {
            Err(Status::unavailable("down"))
        } else {
            Ok(())
        }
    }
}

/// A file's entry without its content.
pub(super) fn file(path: &str) -> pb::Entry {
    pb::Entry {
        path: path.as_bytes().to_vec(),
        kind: pb::EntryKind::File.into(),
        mode: 0o640,
        mtime_seconds: 1_600_000_000,
        mtime_nanos: 5,
        ..Default::default()
    }
}

#[tonic::async_trait]
impl SyncService for Mesh {
    type HydrateStream = Pin<Box<dyn Stream<Item = Result<pb::HydrateResponse, Status>> + Send>>;

    async fn hydrate(
        &self,
        request: Request<pb::HydrateRequest>,
    ) -> Result<Response<Self::HydrateStream>, Status> {
        self.enter(&request)?;
        let pb::HydrateRequest { version } = request.into_inner();
        let state = self.0.state.lock();
        let wanted = if version.is_empty() {
            state.head()
        } else {
            version
        };
        let header = pb::HydrateHeader {
            version: wanted.clone(),
            entries: 0,
            bytes: 0,
        };
        let mut parts = vec![Part::Header(header)];
        let number = (1..=state.versions.len()).find(|number| name(*number) == wanted);
        for entry in number
            .map(|number| &state.versions[number - 1])
            .into_iter()
            .flat_map(BTreeMap::values)
        {
            let mut offset = 0;
            parts.push(Part::Entry(pb::Entry {
                chunks: Vec::new(),
                ..entry.clone()
            }));
            for chunk in &entry.chunks {
                if let Some(data) = state.chunks.get(&chunk.hash) {
                    parts.push(Part::Data(pb::FileData {
                        offset,
                        data: data.clone().into(),
                    }));
                }
                offset += chunk.length;
            }
        }
        parts.push(Part::Done(pb::HydrateDone {}));
        let parts = parts
            .into_iter()
            .map(|part| Ok(pb::HydrateResponse { part: Some(part) }));
        Ok(Response::new(Box::pin(tokio_stream::iter(parts))))
    }

    async fn begin_upload(
        &self,
        request: Request<pb::BeginUploadRequest>,
    ) -> Result<Response<pb::BeginUploadResponse>, Status> {
        self.enter(&request)?;
        let mut state = self.0.state.lock();
        state.begun += 1;
        Ok(Response::new(pb::BeginUploadResponse {
            upload_id: format!("u{}", state.begun),
        }))
    }

    async fn offer_chunks(
        &self,
        request: Request<pb::OfferChunksRequest>,
    ) -> Result<Response<pb::OfferChunksResponse>, Status> {
        self.enter(&request)?;
        let state = self.0.state.lock();
        let hashes = request.into_inner().hashes.into_iter().enumerate();
        let missing = hashes.filter(|(_, hash)| !state.chunks.contains_key(hash));
        let missing = missing
            .map(|(index, _)| u32::try_from(index).expect("few"))
            .collect();
        Ok(Response::new(pb::OfferChunksResponse { missing }))
    }

    async fn upload_chunks(
        &self,
        request: Request<Streaming<pb::UploadChunksRequest>>,
    ) -> Result<Response<pb::UploadChunksResponse>, Status> {
        self.enter(&request)?;
        let mut messages = request.into_inner();
        while let Some(message) = messages.message().await? {
            let mut state = self.0.state.lock();
            for chunk in message.chunks {
                state.uploaded += 1;
                state
                    .chunks
                    .insert(blake3::hash(&chunk).as_bytes().to_vec(), chunk.to_vec());
            }
        }
        Ok(Response::new(pb::UploadChunksResponse::default()))
    }

    async fn commit_version(
        &self,
        request: Request<Streaming<pb::CommitVersionRequest>>,
    ) -> Result<Response<pb::CommitVersionResponse>, Status> {
        self.enter(&request)?;
        let mut messages = request.into_inner();
        let mut parent = None;
        let mut changes = Vec::new();
        while let Some(message) = messages.message().await? {
            match message.part {
                Some(CommitPart::Header(header)) => parent = Some(header.parent),
                Some(CommitPart::Changes(more)) => changes.extend(more.changes),
                None => return Err(Status::invalid_argument("an empty message")),
            }
        }
        let mut state = self.0.state.lock();
        if let Some(entry) = state.interferes.take() {
            let mut version = state.versions.last().cloned().unwrap_or_default();
            version.insert(entry.path.clone(), entry);
            state.versions.push(version);
        }
        if parent != Some(state.head()) {
            return Err(Status::aborted("the head moved"));
        }
        let mut version = state.versions.last().cloned().unwrap_or_default();
        let mut last: Option<Vec<u8>> = None;
        for change in changes {
            let path = match &change.change {
                Some(Change::Upsert(entry)) => entry.path.clone(),
                Some(Change::Removed(path)) => path.clone(),
                None => return Err(Status::invalid_argument("an empty change")),
            };
            if last.as_ref().is_some_and(|last| *last >= path) {
                return Err(Status::invalid_argument("not in order"));
            }
            last = Some(path.clone());
            let below = [&path, &b"/"[..]].concat();
            match change.change {
                Some(Change::Upsert(entry)) => {
                    let lacks = |chunk: &pb::ChunkRef| {
                        !chunk.hash.is_empty() && !state.chunks.contains_key(&chunk.hash)
                    };
                    if entry.chunks.iter().any(lacks) {
                        return Err(Status::failed_precondition("a chunk is missing"));
                    }
                    if entry.kind() != pb::EntryKind::Directory {
                        version.retain(|path, _| !path.starts_with(&below));
                    }
                    version.insert(path, entry);
                }
                Some(Change::Removed(_)) | None => {
                    version.retain(|there, _| *there != path && !there.starts_with(&below))
                }
            }
        }
        state.versions.push(version);
        let version = pb::Version {
            version: state.head(),
            ..Default::default()
        };
        Ok(Response::new(pb::CommitVersionResponse {
            version: Some(version),
        }))
    }
}

#[tonic::async_trait]
impl InstanceService for Mesh {
    async fn report_instance(
        &self,
        request: Request<orchestrator::ReportInstanceRequest>,
    ) -> Result<Response<orchestrator::ReportInstanceResponse>, Status> {
        self.enter(&request)?;
        let event = request
            .into_inner()
            .event
            .ok_or_else(|| Status::invalid_argument("no event"))?;
        self.0.reports.send_modify(|reports| reports.push(event));
        Ok(Response::new(orchestrator::ReportInstanceResponse {}))
    }
}

#[tonic::async_trait]
impl TokenService for Mesh {
    async fn renew_session(
        &self,
        request: Request<token::RenewSessionRequest>,
    ) -> Result<Response<token::RenewSessionResponse>, Status> {
        self.enter(&request)?;
        let mut state = self.0.state.lock();
        state.renewals += 1;
        let number = state.renewals;
        let expires_at = SystemClock.now().plus(Duration::from_secs(3600));
        let tokens = token::TokenPair {
            agent_token: format!("agent-renewed-{number}"),
            daemon_token: format!("daemon-renewed-{number}"),
            expires_at: Some(sandgate_api::timestamp_to(expires_at)),
        };
        Ok(Response::new(token::RenewSessionResponse {
            tokens: Some(tokens),
        }))
    }

    async fn mint_session(
        &self,
        _request: Request<token::MintSessionRequest>,
    ) -> Result<Response<token::MintSessionResponse>, Status> {
        Err(Status::permission_denied("not for keepers"))
    }

    async fn validate_token(
        &self,
        _request: Request<token::ValidateTokenRequest>,
    ) -> Result<Response<token::ValidateTokenResponse>, Status> {
        Err(Status::permission_denied("not for keepers"))
    }

    async fn get_jwks(
        &self,
        _request: Request<token::GetJwksRequest>,
    ) -> Result<Response<token::GetJwksResponse>, Status> {
        Err(Status::permission_denied("not for keepers"))
    }
}
