//! The ring of one process: what it keeps, what may go, and what each reader wants next.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::{PIECE_MAX_BYTES, Piece, RESERVED_BYTES, ReaderKey, Stream};

/// What a change of stream costs: a process that alternates byte by byte pays for its runs too.
pub(super) const RUN_BYTES: usize = size_of::<Run>();
/// In such steps a ring's memory grows, so that a quiet process holds little.
const GROW_BYTES: usize = 16 * 1024;

/// Consecutive bytes of one stream, up to where the next run begins.
#[derive(Debug, Clone, Copy)]
struct Run {
    start: u64,
    stream: Stream,
}

/// What one process wrote, as far as it is kept.
#[derive(Debug, Default)]
pub(super) struct Ring {
    pub(super) bytes: VecDeque<u8>,
    runs: VecDeque<Run>,
    /// The offset of the first byte that is kept.
    pub(super) first: u64,
    /// The offset of the next byte that each reader wants.
    pub(super) readers: BTreeMap<ReaderKey, u64>,
}

impl Ring {
    pub(super) fn end(&self) -> u64 {
        self.first + self.bytes.len() as u64
    }

    pub(super) fn cost(&self) -> usize {
        self.bytes.len() + self.runs.len() * RUN_BYTES
    }

    pub(super) fn shared(&self) -> usize {
        self.cost().saturating_sub(RESERVED_BYTES)
    }

    /// The offset before which nobody who is attached needs anything.
    pub(super) fn needed_from(&self) -> u64 {
        self.readers
            .values()
            .copied()
            .min()
            .unwrap_or_else(|| self.end())
    }

    /// How many bytes may go.
    pub(super) fn evictable(&self) -> usize {
        usize::try_from(self.needed_from() - self.first).unwrap_or(usize::MAX)
    }

    /// What would stay after everything that may go went.
    pub(super) fn fixed(&self) -> usize {
        let needed = self.needed_from();
        if needed == self.end() {
            return 0;
        }
        let gone = self
            .runs
            .partition_point(|run| run.start <= needed)
            .saturating_sub(1);
        self.bytes.len() - self.evictable() + (self.runs.len() - gone) * RUN_BYTES
    }

    /// Forgets `count` of the oldest bytes.
    pub(super) fn evict(&mut self, count: usize) {
        self.bytes.drain(..count);
        self.first += count as u64;
        if self.bytes.is_empty() {
            self.bytes = VecDeque::new();
            self.runs = VecDeque::new();
            return;
        }
        let gone = self
            .runs
            .partition_point(|run| run.start <= self.first)
            .saturating_sub(1);
        self.runs.drain(..gone);
    }

    /// Evicts until `wanted` of its cost is freed or nothing evictable is left.
    pub(super) fn free(&mut self, wanted: usize) {
        let count = self.evictable().min(wanted);
        if count > 0 {
            self.evict(count);
        }
    }

    pub(super) fn push(&mut self, stream: Stream, data: &[u8]) {
        if self.runs.back().is_none_or(|run| run.stream != stream) {
            self.runs.push_back(Run {
                start: self.end(),
                stream,
            });
        }
        let needed = self.bytes.len() + data.len();
        if needed > self.bytes.capacity() {
            let rounded = needed.next_multiple_of(GROW_BYTES);
            self.bytes.reserve_exact(rounded - self.bytes.len());
        }
        self.bytes.extend(data);
    }

    pub(super) fn piece(&self, offset: u64) -> Option<Piece> {
        let start = usize::try_from(offset.checked_sub(self.first)?).ok()?;
        if start >= self.bytes.len() {
            return None;
        }
        let behind = self.runs.partition_point(|run| run.start <= offset);
        let run = self.runs.get(behind.checked_sub(1)?)?;
        let run_end = self.runs.get(behind).map_or(self.end(), |next| next.start);
        let length = usize::try_from(run_end - offset)
            .unwrap_or(usize::MAX)
            .min(PIECE_MAX_BYTES);
        let data: Vec<u8> = self.bytes.range(start..start + length).copied().collect();
        Some(Piece {
            stream: run.stream,
            offset,
            data: Bytes::from(data),
        })
    }
}
