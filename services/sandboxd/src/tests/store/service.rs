//! SyncService over the small store.

use std::collections::BTreeMap;
use std::pin::Pin;

use futures_util::Stream;
use sandgate_api::storage::v1 as pb;
use sandgate_api::storage::v1::change::Change;
use sandgate_api::storage::v1::commit_version_request::Part as CommitPart;
use sandgate_api::storage::v1::hydrate_response::Part;
use sandgate_api::storage::v1::sync_service_server::SyncService;
use tonic::{Request, Response, Status, Streaming};

use super::super::mesh::Mesh;
use super::name;

#[tonic::async_trait]
impl SyncService for Mesh {
    type HydrateStream = Pin<Box<dyn Stream<Item = Result<pb::HydrateResponse, Status>> + Send>>;

    async fn hydrate(
        &self,
        request: Request<pb::HydrateRequest>,
    ) -> Result<Response<Self::HydrateStream>, Status> {
        self.enter(&request)?;
        let pb::HydrateRequest { version } = request.into_inner();
        let mut state = self.store();
        let fails = state.hydrates_fail > 0;
        state.hydrates_fail = state.hydrates_fail.saturating_sub(1);
        let wanted = if version.is_empty() {
            state.head()
        } else {
            version
        };
        let header = pb::HydrateHeader {
            version: wanted.clone(),
            entries: state.claims.unwrap_or(0),
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
        let half = parts.len() / 2;
        let whole = parts
            .into_iter()
            .map(|part| Ok(pb::HydrateResponse { part: Some(part) }));
        let mut parts: Vec<_> = whole.collect();
        if fails {
            parts.truncate(half);
            parts.push(Err(Status::unavailable("a store that restarts")));
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(parts))))
    }

    async fn begin_upload(
        &self,
        request: Request<pb::BeginUploadRequest>,
    ) -> Result<Response<pb::BeginUploadResponse>, Status> {
        self.enter(&request)?;
        let mut state = self.store();
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
        self.offers().send_modify(|offers| offers.waiting += 1);
        let released = self
            .offers()
            .subscribe()
            .wait_for(|offers| !offers.held)
            .await
            .is_ok();
        assert!(released, "the mesh is there");
        self.offers().send_modify(|offers| offers.waiting -= 1);
        let state = self.store();
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
            let mut state = self.store();
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
        let mut state = self.store();
        if let Some(status) = &state.refuses {
            return Err(status.clone());
        }
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
                    let parent = path.iter().rposition(|byte| *byte == b'/');
                    let lies_in_a_directory = parent.is_none_or(|end| {
                        version
                            .get(&path[..end])
                            .is_some_and(|parent| parent.kind() == pb::EntryKind::Directory)
                    });
                    if !lies_in_a_directory {
                        return Err(Status::invalid_argument("path: must lie in a directory"));
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
