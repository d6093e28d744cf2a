//! Cutting content into chunks where the content says so (FastCDC), keyed by the tenant's seed.
//!
//! The same content is cut alike wherever it stands, so a change in a large file costs the chunks around it. The
//! gear table itself is drawn from the seed: without it, nobody can tell from the lengths of stored chunks whether
//! a tenant has a file that they know.

use fastcdc::v2020::{Normalization, cut_gear, select_masks};

use crate::ChunkingSeed;

/// The shortest chunk, except for the last one of a file.
pub const CHUNK_MIN_BYTES: usize = 16 * 1024;
/// What chunks are aimed at.
pub const CHUNK_AVERAGE_BYTES: usize = 64 * 1024;
/// The longest chunk.
pub const CHUNK_MAX_BYTES: usize = 256 * 1024;

/// Cuts a stretch of content that arrives in pieces of any size. Holds less than two chunks beyond what was pushed
/// last.
///
/// Expected flow: [`Cutter::push`] what arrives, then take from [`Cutter::next_chunk`] until it has none; at the end
/// of the stretch (of the file, or before a hole) take from [`Cutter::finish`] until it has none. Where the content
/// is cut does not depend on the pieces.
pub struct Cutter {
    gear: Box<[u64; 256]>,
    gear_shifted: Box<[u64; 256]>,
    buffer: Vec<u8>,
    taken: usize,
}

impl Cutter {
    /// A cutter for one tenant.
    pub fn new(seed: &ChunkingSeed) -> Self {
        let mut gear = Box::new([0; 256]);
        let mut gear_shifted = Box::new([0; 256]);
        let mut drawn = blake3::Hasher::new_keyed(seed.as_bytes()).finalize_xof();
        for (number, shifted) in gear.iter_mut().zip(gear_shifted.iter_mut()) {
            let mut bytes = [0; 8];
            drawn.fill(&mut bytes);
            *number = u64::from_le_bytes(bytes);
            *shifted = *number << 1;
        }
        Self {
            gear,
            gear_shifted,
            buffer: Vec::new(),
            taken: 0,
        }
    }

    /// Adds what comes next.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next chunk whose end is certain.
    pub fn next_chunk(&mut self) -> Option<Vec<u8>> {
        let waiting = self.buffer.len() - self.taken;
        if waiting < CHUNK_MAX_BYTES {
            None
        } else {
            self.cut()
        }
    }

    /// The next of the last chunks, now that nothing follows.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        if self.taken == self.buffer.len() {
            None
        } else {
            self.cut()
        }
    }

    fn cut(&mut self) -> Option<Vec<u8>> {
        let waiting = self.buffer.get(self.taken..)?;
        // More would let the boundary depend on how much has arrived.
        let window = &waiting[..waiting.len().min(CHUNK_MAX_BYTES)];
        let (small, large) = select_masks(CHUNK_AVERAGE_BYTES, Normalization::Level1);
        let (_, length) = cut_gear(
            window,
            CHUNK_MIN_BYTES,
            CHUNK_AVERAGE_BYTES,
            CHUNK_MAX_BYTES,
            small,
            large,
            small << 1,
            large << 1,
            self.gear.as_slice(),
            self.gear_shifted.as_slice(),
        );
        let chunk = window.get(..length.max(1))?.to_vec();
        self.taken += chunk.len();
        Some(chunk)
    }
}

impl std::fmt::Debug for Cutter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cutter")
            .field("waiting", &(self.buffer.len() - self.taken))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::rngs::StdRng;
    use rand::{RngCore as _, SeedableRng as _};

    use super::*;

    fn seed(number: u8) -> ChunkingSeed {
        ChunkingSeed::derive(&[number; 32])
    }

    fn content(seed: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
        bytes
    }

    fn cut(seed: &ChunkingSeed, content: &[u8], piece: usize) -> Vec<Vec<u8>> {
        let mut cutter = Cutter::new(seed);
        let mut chunks = Vec::new();
        for bytes in content.chunks(piece) {
            cutter.push(bytes);
            chunks.extend(std::iter::from_fn(|| cutter.next_chunk()));
        }
        chunks.extend(std::iter::from_fn(|| cutter.finish()));
        chunks
    }

    fn lengths(chunks: &[Vec<u8>]) -> Vec<usize> {
        chunks.iter().map(Vec::len).collect()
    }

    #[test]
    fn boundaries_are_those_of_the_stored_vector() {
        let mut content = Vec::new();
        for number in 0..75_000_u32 {
            content.extend_from_slice(&number.wrapping_mul(2_654_435_761).to_le_bytes());
        }
        assert_eq!(
            lengths(&cut(&seed(7), &content, 4096)),
            [66_776, 83_567, 69_666, 69_469, 10_522]
        );
    }

    #[test]
    fn two_tenants_cut_one_content_differently() {
        let content = content(1, 2 << 20);
        assert_ne!(
            lengths(&cut(&seed(1), &content, 65_536)),
            lengths(&cut(&seed(2), &content, 65_536))
        );
    }

    #[test]
    fn an_insertion_changes_the_chunks_around_it_only() {
        let before = content(1, 4 << 20);
        let mut after = before.clone();
        after.splice(1_000_000..1_000_000, *b"inserted");
        let old: std::collections::HashSet<_> =
            cut(&seed(1), &before, 65_536).into_iter().collect();
        let new = cut(&seed(1), &after, 65_536);
        let changed = new.iter().filter(|chunk| !old.contains(*chunk)).count();
        assert!(changed <= 3, "{changed} of {} chunks changed", new.len());
    }

    #[test]
    fn nothing_has_no_chunks() {
        assert!(cut(&seed(1), b"", 1).is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn chunks_are_bounded_join_to_the_content_and_do_not_depend_on_the_pieces(
            number in any::<u64>(), length in 0..1_000_000_usize, piece in 1000..400_000_usize,
        ) {
            let content = content(number, length);
            let chunks = cut(&seed(3), &content, piece);
            prop_assert_eq!(chunks.concat(), content.clone());
            prop_assert!(chunks.iter().all(|chunk| chunk.len() <= CHUNK_MAX_BYTES));
            prop_assert!(chunks.iter().rev().skip(1).all(|chunk| chunk.len() >= CHUNK_MIN_BYTES));
            prop_assert_eq!(lengths(&chunks), lengths(&cut(&seed(3), &content, length + 1)));
        }
    }
}
