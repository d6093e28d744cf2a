//! What processes have written, kept for readers that come later.
//!
//! Each process has a ring of at most [`PROCESS_MAX_BYTES`], all of a sandbox together at most
//! [`SANDBOX_MAX_BYTES`]. While a reader is attached, nothing that it has not read is lost: the ring says
//! that it has no room, and its process waits. Without a reader the oldest bytes go. Both streams of a
//! process are counted over together. Everything here is pure: whoever moves bytes holds the lock, asks,
//! and waits elsewhere.

mod one;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;

use self::one::{RUN_BYTES, Ring};

/// The most that one process keeps.
pub(crate) const PROCESS_MAX_BYTES: usize = 1024 * 1024;
/// The most that all processes of a sandbox keep.
pub(crate) const SANDBOX_MAX_BYTES: usize = 4 * 1024 * 1024;
/// The most rings at a time; the process table asks for no more.
pub(crate) const RINGS_MAX: usize = 192;
/// What every ring may hold whatever the others do, so that no reader who sleeps stops another's process.
const RESERVED_BYTES: usize = 4 * 1024;
/// What the rings may hold beyond their reserves.
const SHARED_MAX_BYTES: usize = SANDBOX_MAX_BYTES - RINGS_MAX * RESERVED_BYTES;
/// The longest piece that a reader gets: a message of `ProcessService`.
pub(crate) const PIECE_MAX_BYTES: usize = 64 * 1024;

/// Which stream of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Names a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RingKey(u64);

/// Names a reader of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ReaderKey(u64);

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Which stream wrote it.
    pub(crate) stream: Stream,
    /// The offset of its first byte.
    pub(crate) offset: u64,
    /// Its bytes, at least one.
    pub(crate) data: Bytes,
}

/// That older output was asked for than is kept, or output that was never written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("output is kept from offset {first} to {end}")]
pub(crate) struct NotKept {
    /// The first offset that is kept.
    pub(crate) first: u64,
    /// The offset behind the last byte written.
    pub(crate) end: u64,
}

/// All rings of a sandbox.
#[derive(Debug, Default)]
pub(crate) struct Rings {
    rings: BTreeMap<RingKey, Ring>,
    next_key: u64,
}

impl Rings {
    /// Makes a ring for a process.
    pub(crate) fn open(&mut self) -> RingKey {
        let key = RingKey(self.fresh());
        self.rings.insert(key, Ring::default());
        key
    }

    /// Forgets a ring and all that it kept.
    pub(crate) fn close(&mut self, key: RingKey) {
        self.rings.remove(&key);
    }

    /// Attaches a reader that wants what comes from `offset` on.
    ///
    /// # Errors
    /// [`NotKept`], when that was evicted already or lies behind what was written.
    pub(crate) fn attach(&mut self, key: RingKey, offset: u64) -> Result<ReaderKey, NotKept> {
        let reader = ReaderKey(self.fresh());
        let Some(ring) = self.rings.get_mut(&key) else {
            return Err(NotKept { first: 0, end: 0 });
        };
        if offset < ring.first || offset > ring.end() {
            return Err(NotKept {
                first: ring.first,
                end: ring.end(),
            });
        }
        ring.readers.insert(reader, offset);
        Ok(reader)
    }

    /// Detaches a reader; what only it still wanted may go.
    pub(crate) fn detach(&mut self, key: RingKey, reader: ReaderKey) {
        if let Some(ring) = self.rings.get_mut(&key) {
            ring.readers.remove(&reader);
        }
    }

    /// How many bytes of `stream` the ring takes now, at most [`PIECE_MAX_BYTES`]. Zero means: wait until a
    /// reader has read or left.
    pub(crate) fn room(&self, key: RingKey) -> usize {
        let Some(ring) = self.rings.get(&key) else {
            return 0;
        };
        let fixed = ring.fixed();
        let others: usize = self
            .rings
            .iter()
            .filter(|(other, _)| **other != key)
            .map(|(_, ring)| ring.fixed().saturating_sub(RESERVED_BYTES))
            .sum();
        let shared = SHARED_MAX_BYTES.saturating_sub(others);
        let allowed = PROCESS_MAX_BYTES.min(RESERVED_BYTES + shared);
        // A push may begin a new run; its cost is set aside.
        allowed
            .saturating_sub(fixed + RUN_BYTES)
            .min(PIECE_MAX_BYTES)
    }

    /// Keeps `data`, of which there are at most [`Self::room`] bytes. Makes room by what nobody attached
    /// needs: the ring's own oldest bytes when it is full, else those of the ring that keeps most.
    pub(crate) fn push(&mut self, key: RingKey, stream: Stream, data: &[u8]) {
        let Some(ring) = self.rings.get_mut(&key) else {
            return;
        };
        if data.is_empty() {
            return;
        }
        let cost = data.len() + RUN_BYTES;
        ring.free((ring.cost() + cost).saturating_sub(PROCESS_MAX_BYTES));
        let after = (ring.cost() + cost).saturating_sub(RESERVED_BYTES);
        let gained = after.saturating_sub(ring.shared());
        self.free_shared(gained);
        if let Some(ring) = self.rings.get_mut(&key) {
            ring.push(stream, data);
        }
    }

    /// Frees shared room until `gained` more fits.
    fn free_shared(&mut self, gained: usize) {
        loop {
            let shared: usize = self.rings.values().map(Ring::shared).sum();
            let over = (shared + gained).saturating_sub(SHARED_MAX_BYTES);
            if over == 0 {
                return;
            }
            let largest = self
                .rings
                .values_mut()
                .filter(|ring| ring.shared() > 0 && ring.evictable() > 0)
                .max_by_key(|ring| ring.shared());
            let Some(ring) = largest else { return };
            let wanted = over.min(ring.shared());
            ring.free(wanted);
        }
    }

    /// The next piece for a reader, without taking it.
    pub(crate) fn peek(&self, key: RingKey, reader: ReaderKey) -> Option<Piece> {
        let ring = self.rings.get(&key)?;
        ring.piece(*ring.readers.get(&reader)?)
    }

    /// The next piece for a reader, which has then read it.
    pub(crate) fn read(&mut self, key: RingKey, reader: ReaderKey) -> Option<Piece> {
        let piece = self.peek(key, reader)?;
        let position = self.rings.get_mut(&key)?.readers.get_mut(&reader)?;
        *position += piece.data.len() as u64;
        Some(piece)
    }

    /// How much the process wrote in all.
    pub(crate) fn written(&self, key: RingKey) -> u64 {
        self.rings.get(&key).map_or(0, Ring::end)
    }

    /// The last `count` bytes that are kept, of both streams as they came.
    pub(crate) fn tail(&self, key: RingKey, count: usize) -> Vec<u8> {
        let Some(ring) = self.rings.get(&key) else {
            return Vec::new();
        };
        let skip = ring.bytes.len().saturating_sub(count);
        ring.bytes.range(skip..).copied().collect()
    }

    fn fresh(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    #[cfg(test)]
    fn cost(&self) -> usize {
        self.rings.values().map(Ring::cost).sum()
    }
}
