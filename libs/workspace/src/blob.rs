//! How a chunk or page is stored: a header of 16 bytes, and the content, compressed where that helps.
//!
//! ```text
//! 0  magic "SGBL"      4  version 1      5  compression (0 none, 1 zstd)      6  cipher id (0 none)      7  zero
//! 8  key id, u32 LE (0 without a cipher)                                     12  length of the content, u32 LE
//! ```
//!
//! The header is not trusted: whoever reads a blob compares the content with the name by which it was asked for.

/// What a blob begins with.
const MAGIC: &[u8; 4] = b"SGBL";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 16;
const NO_COMPRESSION: u8 = 0;
const ZSTD: u8 = 1;
const NO_CIPHER: u8 = 0;
/// zstd's own default: past it, time grows faster than size shrinks.
const LEVEL: i32 = 3;

/// The longest content of a blob: the longest chunk. Pages are shorter.
pub const CONTENT_MAX_BYTES: usize = crate::CHUNK_MAX_BYTES;

/// Why bytes are no blob that this program can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// It ends within its header, or does not begin as a blob does.
    #[error("this is no blob")]
    NotABlob,
    /// It was written by a newer program.
    #[error("the blob has version {0}, which this program does not know")]
    Version(u8),
    /// Its compression is unknown.
    #[error("the blob has compression {0}, which this program does not know")]
    Compression(u8),
    /// It is encrypted.
    #[error("the blob has cipher {0}, which this program does not know")]
    Cipher(u8),
    /// Its content is longer than any may be, or not as long as the header says.
    #[error("the content of the blob has another length than it may or claims to have")]
    Length,
    /// It cannot be inflated.
    #[error("the content of the blob is damaged")]
    Damaged,
}

/// The blob of `content`.
///
/// # Errors
/// [`BlobError::Length`] for content longer than [`CONTENT_MAX_BYTES`].
pub fn encode(content: &[u8]) -> Result<Vec<u8>, BlobError> {
    if content.len() > CONTENT_MAX_BYTES {
        return Err(BlobError::Length);
    }
    let length = u32::try_from(content.len()).map_err(|_| BlobError::Length)?;
    let compressed = zstd::bulk::compress(content, LEVEL).map_err(|_| BlobError::Damaged)?;
    let (compression, payload) = if compressed.len() < content.len() {
        (ZSTD, compressed.as_slice())
    } else {
        (NO_COMPRESSION, content)
    };
    let mut blob = Vec::with_capacity(HEADER_BYTES + payload.len());
    blob.extend_from_slice(MAGIC);
    blob.extend_from_slice(&[VERSION, compression, NO_CIPHER, 0]);
    blob.extend_from_slice(&0_u32.to_le_bytes());
    blob.extend_from_slice(&length.to_le_bytes());
    blob.extend_from_slice(payload);
    Ok(blob)
}

/// The content of a blob; never more than [`CONTENT_MAX_BYTES`] of memory, whatever the blob claims.
///
/// # Errors
/// What keeps it from being read.
pub fn decode(blob: &[u8]) -> Result<Vec<u8>, BlobError> {
    let (header, payload) = blob
        .split_at_checked(HEADER_BYTES)
        .ok_or(BlobError::NotABlob)?;
    let &[
        m0,
        m1,
        m2,
        m3,
        version,
        compression,
        cipher,
        reserved,
        k0,
        k1,
        k2,
        k3,
        l0,
        l1,
        l2,
        l3,
    ] = header
    else {
        return Err(BlobError::NotABlob);
    };
    if [m0, m1, m2, m3] != *MAGIC {
        return Err(BlobError::NotABlob);
    }
    if version != VERSION {
        return Err(BlobError::Version(version));
    }
    if cipher != NO_CIPHER || u32::from_le_bytes([k0, k1, k2, k3]) != 0 {
        return Err(BlobError::Cipher(cipher));
    }
    if reserved != 0 {
        return Err(BlobError::NotABlob);
    }
    let length =
        usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).map_err(|_| BlobError::Length)?;
    if length > CONTENT_MAX_BYTES {
        return Err(BlobError::Length);
    }
    let content = match compression {
        NO_COMPRESSION => payload.to_vec(),
        // The capacity bounds what is inflated.
        ZSTD => zstd::bulk::decompress(payload, length).map_err(|_| BlobError::Damaged)?,
        unknown => return Err(BlobError::Compression(unknown)),
    };
    if content.len() == length {
        Ok(content)
    } else {
        Err(BlobError::Length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STORED: &[u8] = b"SGBL\x01\x00\x00\x00\x00\x00\x00\x00\x08\x00\x00\x00sandgate";

    #[test]
    fn a_blob_is_that_of_the_stored_vector() {
        assert_eq!(encode(b"sandgate").expect("short"), STORED);
        assert_eq!(decode(STORED).expect("stored"), b"sandgate");
    }

    #[test]
    fn what_compresses_is_compressed() {
        let zeros = vec![0; CONTENT_MAX_BYTES];
        let blob = encode(&zeros).expect("allowed");
        assert!(blob.len() < 200);
        assert_eq!(decode(&blob).expect("own"), zeros);
    }

    #[test]
    fn what_is_unknown_is_refused_and_not_guessed() {
        let with = |at: usize, byte: u8| {
            let mut blob = STORED.to_vec();
            blob[at] = byte;
            decode(&blob).expect_err("changed")
        };
        assert_eq!(with(0, b'X'), BlobError::NotABlob);
        assert_eq!(with(4, 2), BlobError::Version(2));
        assert_eq!(with(5, 9), BlobError::Compression(9));
        assert_eq!(with(6, 1), BlobError::Cipher(1));
        assert_eq!(with(7, 1), BlobError::NotABlob);
        assert_eq!(with(8, 1), BlobError::Cipher(0));
        assert_eq!(with(12, 9), BlobError::Length);
        assert_eq!(with(15, 0xff), BlobError::Length);
        assert_eq!(decode(&STORED[..15]), Err(BlobError::NotABlob));
    }

    #[test]
    fn a_bomb_is_not_inflated_past_what_its_header_says() {
        let mut blob = encode(&vec![0; CONTENT_MAX_BYTES]).expect("allowed");
        blob[12..16].copy_from_slice(&100_u32.to_le_bytes());
        assert_eq!(decode(&blob), Err(BlobError::Damaged));
    }

    proptest! {
        #[test]
        fn content_survives(content in proptest::collection::vec(any::<u8>(), 0..5000)) {
            prop_assert_eq!(decode(&encode(&content).expect("short")), Ok(content));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut blob = STORED.to_vec();
            blob.truncate(6);
            blob.extend(&bytes);
            let _either = (decode(&bytes), decode(&blob));
        }
    }
}
