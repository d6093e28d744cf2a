//! Content that arrives without a sandbox: cut and stored while it comes in.

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use sandgate_workspace::{BlobName, Cutter, Piece};

use crate::objects::WRITES_AT_ONCE;
use crate::storage::Storage;
use crate::workspace::Workspace;
use crate::write::WriteError;

/// Content that is stored.
#[derive(Debug)]
pub struct Written {
    /// Its pieces, in order.
    pub pieces: Vec<Piece<BlobName>>,
    /// Their names and lengths.
    pub chunks: Vec<(BlobName, u32)>,
    /// How long it is.
    pub size: u64,
    /// Its BLAKE3 hash.
    pub hash: [u8; 32],
}

/// Cuts content as it arrives and stores the chunks; holds some of them and no more.
///
/// # Errors
/// See [`WriteError`]; chunks that nothing refers to may be stored.
pub async fn store_content(
    storage: &Storage,
    workspace: &Workspace,
    content: impl Stream<Item = Result<Bytes, WriteError>>,
) -> Result<Written, WriteError> {
    let (objects, seed) = storage.tenant(&workspace.tenant).await?;
    let mut content = std::pin::pin!(content);
    let mut cutter = Cutter::new(&seed);
    let mut hasher = blake3::Hasher::new();
    let mut chunks = Vec::new();
    let mut waiting = Vec::new();
    let mut size = 0_u64;
    while let Some(bytes) = content.next().await {
        let bytes = bytes?;
        size = size.saturating_add(bytes.len() as u64);
        if size > storage.bounds.write_bytes {
            return Err(WriteError::TooLarge);
        }
        hasher.update(&bytes);
        cutter.push(&bytes);
        waiting.extend(std::iter::from_fn(|| cutter.next_chunk()));
        if waiting.len() >= WRITES_AT_ONCE {
            chunks.extend(objects.put_chunks(&waiting).await?);
            waiting.clear();
        }
    }
    waiting.extend(std::iter::from_fn(|| cutter.finish()));
    chunks.extend(objects.put_chunks(&waiting).await?);
    let pieces = chunks.iter().map(|(name, length)| Piece::Chunk {
        name: *name,
        length: *length,
    });
    Ok(Written {
        pieces: pieces.collect(),
        size,
        hash: *hasher.finalize().as_bytes(),
        chunks,
    })
}
