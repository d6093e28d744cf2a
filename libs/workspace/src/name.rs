//! What a tenant's stored objects are called, and where its chunks are cut: both keyed per tenant.
//!
//! On the wire a chunk is named by the BLAKE3 hash of its content. Stored, it is named by the keyed hash of that
//! hash, so that whoever reads the bucket can confirm no content, and shredding the key makes every name
//! meaningless. The name follows from the hash alone, which lets storage-sync check a reference without the content.

use std::fmt;

use sandgate_types::Malformed;

/// The bytes of a hash, of a name and of a key.
pub const HASH_BYTES: usize = 32;

const CHUNK_CONTEXT: &str = "sandgate 2025 storage.v1 names of chunks";
const PAGE_CONTEXT: &str = "sandgate 2025 storage.v1 names of manifest pages";
const SEED_CONTEXT: &str = "sandgate 2025 storage.v1 boundaries of chunks";

/// The BLAKE3 hash of a chunk's content: its name on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash([u8; HASH_BYTES]);

/// The name of a stored object: a chunk, or a page of a manifest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobName([u8; HASH_BYTES]);

macro_rules! bytes32 {
    ($($type:ident),*) => {
        $(
            impl $type {
                /// Reads it from the request field `field`.
                ///
                /// # Errors
                /// The field, when there are not 32 bytes.
                pub fn parse(field: &str, bytes: &[u8]) -> Result<Self, Malformed> {
                    bytes.try_into().map(Self).map_err(|_| Malformed::new(field, "must have 32 bytes"))
                }

                /// The 32 bytes.
                pub fn as_bytes(&self) -> &[u8; HASH_BYTES] {
                    &self.0
                }
            }

            impl fmt::Display for $type {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
                }
            }

            impl fmt::Debug for $type {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    write!(f, "{}({self})", stringify!($type))
                }
            }
        )*
    };
}

bytes32!(ContentHash, BlobName);

impl ContentHash {
    /// The hash of `content`.
    pub fn of(content: &[u8]) -> Self {
        Self(*blake3::hash(content).as_bytes())
    }
}

/// Keys by which one tenant's objects are named. Shows nothing of itself.
#[derive(Clone)]
pub struct NameKeys {
    chunk: [u8; HASH_BYTES],
    page: [u8; HASH_BYTES],
}

impl NameKeys {
    /// The keys that follow from a tenant's secret.
    pub fn derive(secret: &[u8; HASH_BYTES]) -> Self {
        Self {
            chunk: blake3::derive_key(CHUNK_CONTEXT, secret),
            page: blake3::derive_key(PAGE_CONTEXT, secret),
        }
    }

    /// The name of the chunk whose content has this hash.
    pub fn chunk(&self, hash: &ContentHash) -> BlobName {
        BlobName(*blake3::keyed_hash(&self.chunk, hash.as_bytes()).as_bytes())
    }

    /// The name of a manifest page.
    pub fn page(&self, page: &[u8]) -> BlobName {
        BlobName(*blake3::keyed_hash(&self.page, page).as_bytes())
    }
}

impl fmt::Debug for NameKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NameKeys(redacted)")
    }
}

/// What a tenant's chunk boundaries follow from. A keeper gets it, and no other of the tenant's keys.
#[derive(Clone)]
pub struct ChunkingSeed([u8; HASH_BYTES]);

impl ChunkingSeed {
    /// The seed that follows from a tenant's secret.
    pub fn derive(secret: &[u8; HASH_BYTES]) -> Self {
        Self(blake3::derive_key(SEED_CONTEXT, secret))
    }

    /// Reads the seed from the message field `field`.
    ///
    /// # Errors
    /// The field, when there are not 32 bytes.
    pub fn parse(field: &str, bytes: &[u8]) -> Result<Self, Malformed> {
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| Malformed::new(field, "must have 32 bytes"))
    }

    /// The 32 bytes, for the keeper that is to cut by them.
    pub fn as_bytes(&self) -> &[u8; HASH_BYTES] {
        &self.0
    }
}

impl fmt::Debug for ChunkingSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChunkingSeed(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_stored_vector() {
        let keys = NameKeys::derive(&[7; 32]);
        let hash = ContentHash::of(b"sandgate");
        assert_eq!(
            hash.to_string(),
            "ef8fc0ed5dccdfb7e78e42b0d65b22a67522f2fcdca4848fb79673065f4c9712"
        );
        assert_eq!(
            keys.chunk(&hash).to_string(),
            "0fca8b7697e3eccf507cd252545c8072b986fb3f6429fe097b6db4105d387226"
        );
        assert_eq!(
            keys.page(b"sandgate").to_string(),
            "283527b36ea25353dc140287fa342b07201c82d958105d880a0ed1cf8b4ba67b"
        );
        let seed = ContentHash(*ChunkingSeed::derive(&[7; 32]).as_bytes());
        assert_eq!(
            seed.to_string(),
            "a795b68e263136376f51c57761227514fc8368b0ebf1d94fadf4fb09d7603250"
        );
    }

    #[test]
    fn two_tenants_call_one_content_differently() {
        let hash = ContentHash::of(b"x");
        assert_ne!(
            NameKeys::derive(&[1; 32]).chunk(&hash),
            NameKeys::derive(&[2; 32]).chunk(&hash)
        );
    }

    #[test]
    fn keys_are_not_shown() {
        let (keys, seed) = (NameKeys::derive(&[1; 32]), ChunkingSeed::derive(&[1; 32]));
        assert_eq!(
            format!("{keys:?} {seed:?}"),
            "NameKeys(redacted) ChunkingSeed(redacted)"
        );
    }

    #[test]
    fn a_hash_of_another_length_is_refused_by_field() {
        assert_eq!(
            ContentHash::parse("hash", &[0; 31])
                .expect_err("short")
                .field(),
            "hash"
        );
    }
}
