//! Versions of the workspace, at storage-sync.

mod messages;

use std::collections::BTreeSet;

use bytes::Bytes;
use sandgate_api::storage::v1 as pb;
use sandgate_api::storage::v1::hydrate_response::Part;
use sandgate_api::storage::v1::sync_service_client::SyncServiceClient;
use sandgate_types::Malformed;
use sandgate_workspace::{ContentHash, Entry};

use super::PeerError;
use crate::keeper::gate::DaemonChannel;
use crate::keeper::sync::Change;

/// How errors name the store.
const STORE: &str = "the store";

/// The versions of our session's workspace, in the store.
#[derive(Debug, Clone)]
pub(crate) struct Versions(SyncServiceClient<DaemonChannel>);

/// A version that is being brought.
#[derive(Debug)]
pub(crate) struct Bringing(tonic::Streaming<pb::HydrateResponse>);

/// A part of a version.
#[derive(Debug)]
pub(crate) enum Brought {
    /// How many entries it will have, as the store says.
    Entries(u64),
    /// An entry; the content of a file comes behind it.
    Entry(Entry<()>),
    /// Content of the file that came last.
    Data {
        /// Where in the file.
        offset: u64,
        /// What is there.
        bytes: Bytes,
    },
    /// That was all.
    Done,
}

impl Versions {
    /// Calls through `channel`.
    pub(crate) fn new(channel: DaemonChannel) -> Self {
        Self(SyncServiceClient::new(channel))
    }

    /// Begins an upload for a version behind `parent`, and answers its id.
    ///
    /// # Errors
    /// What the store said instead.
    pub(crate) async fn begin(&mut self, parent: &str) -> Result<String, PeerError> {
        let request = pb::BeginUploadRequest {
            parent: parent.to_owned(),
        };
        let answer = self.0.begin_upload(request).await;
        let pb::BeginUploadResponse { upload_id } =
            answer.map_err(PeerError::of(STORE))?.into_inner();
        Ok(upload_id)
    }

    /// Offers chunks, and answers which of them the store lacks, by their places.
    ///
    /// # Errors
    /// What the store said instead.
    pub(crate) async fn offer<'a>(
        &mut self,
        upload: &str,
        names: impl Iterator<Item = &'a ContentHash>,
    ) -> Result<BTreeSet<usize>, PeerError> {
        let offer = pb::OfferChunksRequest {
            upload_id: upload.to_owned(),
            hashes: names.map(|name| name.as_bytes().to_vec()).collect(),
        };
        let answer = self.0.offer_chunks(offer).await;
        let pb::OfferChunksResponse { missing } =
            answer.map_err(PeerError::of(STORE))?.into_inner();
        Ok(missing
            .into_iter()
            .filter_map(|index| usize::try_from(index).ok())
            .collect())
    }

    /// Sends chunks.
    ///
    /// # Errors
    /// What the store said instead of taking them.
    pub(crate) async fn send(
        &mut self,
        upload: &str,
        chunks: impl Iterator<Item = Vec<u8>>,
    ) -> Result<(), PeerError> {
        let messages = messages::of_chunks(upload, chunks);
        let sent = self.0.upload_chunks(tokio_stream::iter(messages)).await;
        sent.map_err(PeerError::of(STORE))?;
        Ok(())
    }

    /// Commits changes behind `parent`, in order of their paths, and answers the version that they made, if any.
    ///
    /// # Errors
    /// What the store said instead; [`Trouble::Overtaken`](super::Trouble) when `parent` is not the head any more.
    pub(crate) async fn commit(
        &mut self,
        upload: &str,
        parent: &str,
        changes: Vec<Change>,
    ) -> Result<Option<String>, PeerError> {
        let messages = messages::of_commit(upload, parent, changes);
        let answer = self.0.commit_version(tokio_stream::iter(messages)).await;
        let pb::CommitVersionResponse { version } =
            answer.map_err(PeerError::of(STORE))?.into_inner();
        Ok(version.map(|version| version.version))
    }

    /// Has a version brought.
    ///
    /// # Errors
    /// What the store said instead.
    pub(crate) async fn bring(&mut self, version: &str) -> Result<Bringing, PeerError> {
        let request = pb::HydrateRequest {
            version: version.to_owned(),
        };
        let answer = self.0.hydrate(request).await;
        Ok(Bringing(answer.map_err(PeerError::of(STORE))?.into_inner()))
    }

    /// The version that is the head now.
    ///
    /// # Errors
    /// What the store said instead.
    pub(crate) async fn newest(&mut self) -> Result<String, PeerError> {
        let mut stream = self.bring("").await?.0;
        // The header is all that is wanted; the stream is dropped behind it.
        let first = stream.message().await.map_err(PeerError::of(STORE))?;
        match first.and_then(|first| first.part) {
            Some(Part::Header(pb::HydrateHeader { version, .. })) => Ok(version),
            Some(Part::Entry(_) | Part::Data(_) | Part::Done(_)) | None => {
                let text = "the store's stream does not begin with its header";
                Err(PeerError::of(STORE)(tonic::Status::data_loss(text)))
            }
        }
    }
}

impl Bringing {
    /// The next part; `None` when the stream has ended, which is no end of a version.
    ///
    /// # Errors
    /// What the store said instead.
    pub(crate) async fn next(&mut self) -> Result<Option<Result<Brought, Malformed>>, PeerError> {
        let next = self.0.message().await.map_err(PeerError::of(STORE))?;
        let part = next.and_then(|pb::HydrateResponse { part }| part);
        Ok(part.map(brought))
    }
}

fn brought(part: Part) -> Result<Brought, Malformed> {
    Ok(match part {
        Part::Header(header) => Brought::Entries(header.entries),
        Part::Entry(entry) => Brought::Entry(Entry::from_wire_without_content(entry)?),
        Part::Data(pb::FileData { offset, data }) => Brought::Data {
            offset,
            bytes: data,
        },
        Part::Done(_) => Brought::Done,
    })
}
