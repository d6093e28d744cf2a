//! The content of a changed file: read, cut, and sent as far as the store lacks it.

use std::collections::BTreeSet;

use sandgate_workspace::{ContentHash, Cutter, FILE_MAX_BYTES, FILE_PIECES_MAX, Piece, Stated};

use super::SyncError;
use super::bytes::{extent, has_more_pieces, look_at, read_at};
use super::snapshot::Fingerprint;
use super::source::{Opened, Source};
use crate::keeper::peers::Versions;
use crate::protocol::PIECE_MAX_BYTES;

/// Chunks that wait to be offered together: few calls, and little memory.
const BATCH_MAX_BYTES: usize = 4 * 1024 * 1024;
/// The published limit of an offer is 4,096.
const BATCH_MAX_CHUNKS: usize = 1024;

/// A file as it was read.
#[derive(Debug)]
pub(super) struct Read {
    /// What it looked like, before and after.
    pub(super) fingerprint: Fingerprint,
    /// Its content.
    pub(super) content: Stated,
    /// Whether it changed while it was read, so that this is no state that it ever had.
    pub(super) torn: bool,
}

/// How far the reading of a file came.
#[derive(Debug)]
pub(super) enum Reading {
    /// To its end.
    Whole(Read),
    /// The file was gone or replaced before its end.
    Cut,
    /// It was not there.
    Gone,
    /// It is there and cannot be stored: too large, in too many pieces, or not for us to read.
    LeftOut,
}

/// An upload in progress.
#[derive(Debug)]
pub(super) struct Upload {
    versions: Versions,
    id: String,
    waiting: Vec<(ContentHash, Vec<u8>)>,
    waiting_bytes: usize,
    known: BTreeSet<ContentHash>,
}

impl Upload {
    /// Begins an upload for a version behind `parent`.
    pub(super) async fn begin(mut versions: Versions, parent: &str) -> Result<Self, SyncError> {
        let id = versions.begin(parent).await?;
        Ok(Self {
            versions,
            id,
            waiting: Vec::new(),
            waiting_bytes: 0,
            known: BTreeSet::new(),
        })
    }

    /// Its id.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Reads a file and sends what the store lacks.
    ///
    /// # Errors
    /// [`SyncError::Unread`] when the kernel could not read what is there: what is not known must not be stored
    /// as zeros. A file that is cut short meanwhile has a hole where it was, and counts as torn.
    pub(super) async fn read(
        &mut self,
        source: &mut Source<'_>,
        cutter: &mut Cutter,
    ) -> Result<Reading, SyncError> {
        let file = match source.open().await? {
            Opened::File(file) => file,
            Opened::Gone => return Ok(Reading::Gone),
            Opened::Closed => return Ok(Reading::LeftOut),
        };
        let Some(fingerprint) = look_at(file)? else {
            return Ok(Reading::Gone);
        };
        let size = fingerprint.size;
        if size > FILE_MAX_BYTES || has_more_pieces(file, size, FILE_PIECES_MAX)? {
            return Ok(Reading::LeftOut);
        }
        let mut content = Stated::new();
        let mut position = 0;
        loop {
            let Opened::File(file) = source.open().await? else {
                return Ok(cut(cutter));
            };
            let Some(data) = extent(file, position, size)? else {
                break;
            };
            hole(&mut content, data.start - position);
            position = data.start;
            let mut buffer = vec![0; PIECE_MAX_BYTES];
            while position < data.end {
                let most = buffer
                    .len()
                    .min(usize::try_from(data.end - position).unwrap_or(usize::MAX));
                let Opened::File(file) = source.open().await? else {
                    return Ok(cut(cutter));
                };
                let count = read_at(file, &mut buffer[..most], position, fingerprint)?;
                if count == 0 {
                    break;
                }
                cutter.push(&buffer[..count]);
                position += count as u64;
                while let Some(chunk) = cutter.next_chunk() {
                    self.add(chunk, &mut content, source).await?;
                }
                if content.len() > FILE_PIECES_MAX {
                    let _rest = cut(cutter);
                    return Ok(Reading::LeftOut);
                }
                // Others have their turn between two pieces of a large file.
                tokio::task::yield_now().await;
            }
            while let Some(chunk) = cutter.finish() {
                self.add(chunk, &mut content, source).await?;
            }
            if position < data.end {
                break;
            }
        }
        hole(&mut content, size - position);
        if content.len() > FILE_PIECES_MAX {
            return Ok(Reading::LeftOut);
        }
        let Opened::File(file) = source.open().await? else {
            return Ok(Reading::Cut);
        };
        let torn = look_at(file)? != Some(fingerprint);
        Ok(Reading::Whole(Read {
            fingerprint,
            content,
            torn,
        }))
    }

    async fn add(
        &mut self,
        chunk: Vec<u8>,
        content: &mut Stated,
        source: &mut Source<'_>,
    ) -> Result<(), SyncError> {
        let hash = blake3::hash(&chunk);
        let Ok(name) = ContentHash::parse("hash", hash.as_bytes()) else {
            return Ok(());
        };
        let length = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        content.push(Piece::Chunk { name, length });
        if !self.known.insert(name) {
            return Ok(());
        }
        self.waiting_bytes += chunk.len();
        self.waiting.push((name, chunk));
        if self.waiting_bytes >= BATCH_MAX_BYTES || self.waiting.len() >= BATCH_MAX_CHUNKS {
            source.rest();
            self.flush().await?;
        }
        Ok(())
    }

    /// Offers what waits, and sends what is missing.
    pub(super) async fn flush(&mut self) -> Result<(), SyncError> {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        // What is remembered of an upload is bounded too; an offer that comes twice costs nothing else.
        if self.known.len() > 256 * 1024 {
            self.known.clear();
        }
        if waiting.is_empty() {
            return Ok(());
        }
        let names = waiting.iter().map(|(name, _)| name);
        let missing = self.versions.offer(&self.id, names).await?;
        if missing.is_empty() {
            return Ok(());
        }
        let lacking = waiting
            .into_iter()
            .enumerate()
            .filter(|(index, _)| missing.contains(index));
        let chunks = lacking.map(|(_, (_, chunk))| chunk);
        self.versions.send(&self.id, chunks).await?;
        Ok(())
    }
}

/// Forgets what was read of a file that is not there any more.
fn cut(cutter: &mut Cutter) -> Reading {
    while cutter.finish().is_some() {}
    Reading::Cut
}

fn hole(content: &mut Stated, length: u64) {
    if length > 0 {
        content.push(Piece::Hole(length));
    }
}
