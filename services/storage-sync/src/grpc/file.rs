//! Files on their way in and out, and where a list of them goes on.

use bytes::Bytes;
use sandgate_api::storage::v1 as pb;
use sandgate_rpc::Fault;
use sandgate_types::{Malformed, VersionId};
use tonic::Status;

use super::DATA_MAX_BYTES;
use crate::content::{Content, Stretch};
use crate::write::WriteError;

/// A position in a list of files: the version, `/`, and the last path.
pub(super) fn split_position(position: &[u8]) -> Result<(VersionId, Vec<u8>), Malformed> {
    let rule = || Malformed::new("page_token", "must be a next_page_token");
    let slash = position
        .iter()
        .position(|byte| *byte == b'/')
        .ok_or_else(rule)?;
    let version = std::str::from_utf8(&position[..slash]).map_err(|_| rule())?;
    let version = VersionId::parse("page_token", version)?;
    Ok((version, position[slash + 1..].to_vec()))
}

/// The content in a message after the first; nothing at the end of the stream.
pub(super) fn content_of(
    message: Result<Option<pb::WriteFileRequest>, Status>,
) -> Option<Result<Bytes, WriteError>> {
    use pb::write_file_request::Part;
    match message {
        Err(_) => Some(Err(WriteError::Cut)),
        Ok(None) => None,
        Ok(Some(pb::WriteFileRequest { part })) => Some(match part {
            Some(Part::Data(data)) if data.len() <= DATA_MAX_BYTES => Ok(data.into()),
            Some(Part::Data(_)) => {
                Err(Malformed::new("data", "must have at most 1 MiB a message").into())
            }
            Some(Part::Header(_)) | None => {
                Err(Malformed::new("data", "must follow the header, and nothing else").into())
            }
        }),
    }
}

/// A file on its way out.
pub(super) struct Reading {
    first: Option<pb::ReadFileResponse>,
    content: Content,
    /// Zeros of a hole that are still to be sent.
    zeros: u64,
}

impl Reading {
    /// A file's entry, and its content.
    pub(super) fn new(entry: pb::Entry, content: Content) -> Self {
        let first = pb::ReadFileResponse {
            entry: Some(entry),
            data: Vec::new(),
        };
        Self {
            first: Some(first),
            content,
            zeros: 0,
        }
    }

    pub(super) async fn next(&mut self) -> Result<Option<pb::ReadFileResponse>, Fault> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let data = if self.zeros > 0 {
            self.some_zeros()
        } else {
            match self.content.next().await? {
                None => return Ok(None),
                Some((_, Stretch::Data(data))) => data.to_vec(),
                Some((_, Stretch::Hole(length))) => {
                    self.zeros = length;
                    self.some_zeros()
                }
            }
        };
        Ok(Some(pb::ReadFileResponse { entry: None, data }))
    }

    fn some_zeros(&mut self) -> Vec<u8> {
        let count = usize::try_from(self.zeros)
            .unwrap_or(DATA_MAX_BYTES)
            .min(DATA_MAX_BYTES);
        self.zeros -= count as u64;
        vec![0; count]
    }
}
