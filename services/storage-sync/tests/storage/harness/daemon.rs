//! What a keeper does, over the wire, and what it says that has changed.

use sandgate_api::storage::v1 as pb;
use sandgate_workspace::{ChunkingSeed, Cutter};
use tonic::Status;

use super::Sync;

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
