//! A file, piece by piece, as far as it reaches while it is read.

use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use futures_util::{Stream, stream};
use sandgate_api::sandbox::v1 as pb;
use tonic::Status;

use crate::keeper::error::{file_trouble, status};

/// The published limit of a piece that is read.
const PIECE_MAX_BYTES: usize = 64 * 1024;

/// What `file` holds in `range`; the first piece says what is read, though it may be empty.
pub(super) fn pieces(
    info: pb::FileInfo,
    file: File,
    range: Range<u64>,
) -> impl Stream<Item = Result<pb::ReadFileResponse, Status>> {
    let Range { start, end } = range;
    stream::unfold(
        (Some(info), file, start),
        move |(info, file, at)| async move {
            let most = usize::try_from(end.saturating_sub(at))
                .unwrap_or(usize::MAX)
                .min(PIECE_MAX_BYTES);
            let mut data = vec![0; most];
            match file.read_at(&mut data, at) {
                Ok(0) if info.is_none() => None,
                Ok(count) => {
                    data.truncate(count);
                    // Others have their turn between two pieces of a large file.
                    tokio::task::yield_now().await;
                    Some((
                        Ok(pb::ReadFileResponse { info, data }),
                        (None, file, at.saturating_add(count as u64)),
                    ))
                }
                // Past the end of what the kernel can count there is nothing.
                Err(error) if error.kind() == ErrorKind::InvalidInput => info.map(|info| {
                    (
                        Ok(pb::ReadFileResponse {
                            info: Some(info),
                            data: Vec::new(),
                        }),
                        (None, file, end),
                    )
                }),
                Err(error) => Some((Err(status(file_trouble(error))), (None, file, end))),
            }
        },
    )
}
