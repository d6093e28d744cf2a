//! `SyncService`: what a sandbox's daemon does with the workspace of its own conversation.

use bytes::Bytes;
use futures_util::stream;
use sandgate_api::storage::v1 as pb;
use sandgate_api::storage::v1::sync_service_server::SyncService;
use sandgate_rpc::{Caller, Fault};
use sandgate_types::{Malformed, UploadId};
use sandgate_workspace::{CHUNK_MAX_BYTES, ContentHash};
use tonic::{Request, Response, Status};

use super::decode::{change, optional_version, version_to};
use super::{Late, Reply, Streaming, recorder};
use crate::browse::{self, Hydration};
use crate::commit::{self, Change, ChangesError};
use crate::content::{Content, Stretch};
use crate::error::not_recorded;
use crate::upload;
use crate::version::Run;
use crate::workspace::{Workspace, of_daemon};

/// The most hashes of one offer.
const OFFER_MAX: usize = 4096;
/// The most bytes of chunks in one message.
const CHUNKS_MAX_BYTES: usize = 2 * 1024 * 1024;
/// The most changes in one message.
const CHANGES_MAX: usize = 1000;

/// Serves `SyncService`.
#[derive(Debug, Clone)]
pub(crate) struct Sync {
    storage: Late,
}

impl Sync {
    /// Over the storage, once it is found.
    pub(crate) fn new(storage: Late) -> Self {
        Self { storage }
    }
}

/// The workspace and the run that a request's daemon token speaks for.
fn daemon<T>(request: &Request<T>) -> Result<(Workspace, Run), Fault> {
    let (workspace, session) = of_daemon(&Caller::of(request)?)?;
    let run = Run {
        sandbox: session.sandbox,
        instance: session.instance,
        generation: session.generation,
    };
    Ok((workspace, run))
}

#[tonic::async_trait]
impl SyncService for Sync {
    type HydrateStream = Streaming<pb::HydrateResponse>;

    async fn hydrate(&self, request: Request<pb::HydrateRequest>) -> Reply<Self::HydrateStream> {
        let (workspace, _) = daemon(&request)?;
        let recorder = recorder(&request)?;
        let pb::HydrateRequest { version } = request.into_inner();
        let version = optional_version("version", &version).map_err(Fault::from)?;
        let storage = self.storage.get()?;
        let hydration = browse::hydrate(&storage, &workspace, version.as_ref()).await;
        let state = Hydrating::Header(hydration.map_err(Fault::from)?.map(Box::new));
        recorder.allowed().map_err(not_recorded)?;
        let stream = stream::try_unfold(state, |state| async move {
            let next = state.next().await?;
            Ok::<_, Status>(
                next.map(|(part, state)| (pb::HydrateResponse { part: Some(part) }, state)),
            )
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn begin_upload(
        &self,
        request: Request<pb::BeginUploadRequest>,
    ) -> Reply<pb::BeginUploadResponse> {
        let (workspace, run) = daemon(&request)?;
        let pb::BeginUploadRequest { parent } = request.into_inner();
        let parent = optional_version("parent", &parent).map_err(Fault::from)?;
        let storage = self.storage.get()?;
        let begun = upload::begin(&storage, &workspace, &run, parent.as_ref()).await;
        let upload_id = begun.map_err(Fault::from)?.as_str().to_owned();
        Ok(Response::new(pb::BeginUploadResponse { upload_id }))
    }

    async fn offer_chunks(
        &self,
        request: Request<pb::OfferChunksRequest>,
    ) -> Reply<pb::OfferChunksResponse> {
        let (workspace, run) = daemon(&request)?;
        let pb::OfferChunksRequest { upload_id, hashes } = request.into_inner();
        let upload = UploadId::parse("upload_id", &upload_id).map_err(Fault::from)?;
        if hashes.len() > OFFER_MAX {
            return Err(Fault::from(Malformed::new("hashes", "must be at most 4,096")).into());
        }
        let hashes = hashes
            .iter()
            .enumerate()
            .map(|(index, hash)| ContentHash::parse(&format!("hashes[{index}]"), hash));
        let hashes = hashes.collect::<Result<Vec<_>, _>>().map_err(Fault::from)?;
        let storage = self.storage.get()?;
        let missing = upload::offer(&storage, &workspace, &run, &upload, &hashes).await;
        let missing = missing.map_err(Fault::from)?.into_iter();
        // Positions are below 4,096.
        let missing = missing
            .filter_map(|position| u32::try_from(position).ok())
            .collect();
        Ok(Response::new(pb::OfferChunksResponse { missing }))
    }

    async fn upload_chunks(
        &self,
        request: Request<tonic::Streaming<pb::UploadChunksRequest>>,
    ) -> Reply<pb::UploadChunksResponse> {
        let (workspace, run) = daemon(&request)?;
        let mut messages = request.into_inner();
        let storage = self.storage.get()?;
        let mut upload: Option<UploadId> = None;
        let mut stored = pb::UploadChunksResponse {
            chunks: 0,
            bytes: 0,
        };
        while let Some(message) = messages.message().await? {
            let pb::UploadChunksRequest { upload_id, chunks } = message;
            let id = uploaded_to(upload.take(), &upload_id).map_err(Fault::from)?;
            let bytes = check_chunks(&chunks).map_err(Fault::from)?;
            let done = upload::store_chunks(&storage, &workspace, &run, &id, &chunks).await;
            done.map_err(Fault::from)?;
            stored.chunks += chunks.len() as u64;
            stored.bytes += bytes as u64;
            upload = Some(id);
        }
        Ok(Response::new(stored))
    }

    async fn commit_version(
        &self,
        request: Request<tonic::Streaming<pb::CommitVersionRequest>>,
    ) -> Reply<pb::CommitVersionResponse> {
        let (workspace, run) = daemon(&request)?;
        let recorder = recorder(&request)?;
        let mut messages = request.into_inner();
        let first = messages.message().await?.and_then(|message| message.part);
        let Some(pb::commit_version_request::Part::Header(header)) = first else {
            let rule = "must be the first message";
            return Err(Fault::from(Malformed::new("header", rule)).into());
        };
        let pb::CommitHeader { upload_id, parent } = header;
        let upload = UploadId::parse("header.upload_id", &upload_id).map_err(Fault::from)?;
        let parent = optional_version("header.parent", &parent).map_err(Fault::from)?;
        let storage = self.storage.get()?;
        let changes = stream::unfold((messages, 0), |(mut messages, index)| async move {
            let batch = changes_of(index, messages.message().await)?;
            let next = index + batch.as_ref().map_or(0, Vec::len);
            Some((batch, (messages, next)))
        });
        let version = commit::commit(&storage, &workspace, &run, &upload, parent, changes).await;
        let version = Some(version_to(&version.map_err(Fault::from)?));
        recorder.allowed().map_err(not_recorded)?;
        Ok(Response::new(pb::CommitVersionResponse { version }))
    }
}

/// The upload of a message: the first names it, the others repeat it or leave it out.
fn uploaded_to(before: Option<UploadId>, named: &str) -> Result<UploadId, Malformed> {
    match before {
        None => UploadId::parse("upload_id", named),
        Some(before) if named.is_empty() || named == before.as_str() => Ok(before),
        Some(_) => Err(Malformed::new(
            "upload_id",
            "must be that of the first message, or empty",
        )),
    }
}

fn check_chunks(chunks: &[Bytes]) -> Result<usize, Malformed> {
    for (index, chunk) in chunks.iter().enumerate() {
        if chunk.is_empty() || chunk.len() > CHUNK_MAX_BYTES {
            let rule = "must have 1 to 262,144 bytes";
            return Err(Malformed::new(format!("chunks[{index}]"), rule));
        }
    }
    let bytes = chunks.iter().map(Bytes::len).sum();
    if bytes > CHUNKS_MAX_BYTES {
        return Err(Malformed::new(
            "chunks",
            "must have together at most 2 MiB a message",
        ));
    }
    Ok(bytes)
}

/// The changes in a message after the first, which begin at `index`; nothing at the end of the stream.
fn changes_of(
    index: usize,
    message: Result<Option<pb::CommitVersionRequest>, Status>,
) -> Option<Result<Vec<Change>, ChangesError>> {
    use pb::commit_version_request::Part;
    let refuse = |rule: &str| Some(Err(Malformed::new("changes", rule).into()));
    match message {
        Err(_) => Some(Err(ChangesError::Cut)),
        Ok(None) => None,
        Ok(Some(pb::CommitVersionRequest { part })) => match part {
            Some(Part::Changes(pb::Changes { changes })) if changes.len() <= CHANGES_MAX => {
                let changes = changes.into_iter().enumerate();
                let decoded = changes.map(|(offset, wire)| change(index + offset, wire));
                Some(
                    decoded
                        .collect::<Result<_, _>>()
                        .map_err(ChangesError::from),
                )
            }
            Some(Part::Changes(_)) => refuse("must be at most 1,000 a message"),
            Some(Part::Header(_)) | None => refuse("must follow the header, and nothing else"),
        },
    }
}

/// A workspace on its way into a sandbox.
enum Hydrating {
    Header(Option<Box<Hydration>>),
    Entries(Box<Hydration>, Option<Box<Content>>),
    Last,
    Done,
}

type Part = pb::hydrate_response::Part;

impl Hydrating {
    async fn next(self) -> Result<Option<(Part, Self)>, Fault> {
        match self {
            Self::Header(None) => {
                let header = pb::HydrateHeader {
                    version: String::new(),
                    entries: 0,
                    bytes: 0,
                };
                Ok(Some((Part::Header(header), Self::Last)))
            }
            Self::Header(Some(hydration)) => {
                let header = pb::HydrateHeader {
                    version: hydration.version.id.as_str().to_owned(),
                    entries: hydration.version.root.entries,
                    bytes: hydration.version.root.bytes,
                };
                Ok(Some((Part::Header(header), Self::Entries(hydration, None))))
            }
            Self::Entries(mut hydration, mut content) => {
                while let Some(reading) = &mut content {
                    match reading.next().await? {
                        Some((offset, Stretch::Data(data))) => {
                            let data = pb::FileData { offset, data };
                            return Ok(Some((Part::Data(data), Self::Entries(hydration, content))));
                        }
                        // The size and the offsets say where holes are.
                        Some((_, Stretch::Hole(_))) => {}
                        None => content = None,
                    }
                }
                Ok(Some(match hydration.next().await? {
                    Some((entry, content)) => {
                        let part = Part::Entry(entry.to_wire_without_content());
                        (part, Self::Entries(hydration, content.map(Box::new)))
                    }
                    None => (Part::Done(pb::HydrateDone {}), Self::Done),
                }))
            }
            Self::Last => Ok(Some((Part::Done(pb::HydrateDone {}), Self::Done))),
            Self::Done => Ok(None),
        }
    }
}
