//! Blobs in the object store, each read back only as what its name says.
//!
//! Object names are keyed per tenant, and so is the folder; nothing in the bucket repeats a name that a person
//! chose. Whatever is read is hashed again: a damaged, swapped or foreign object is an error, never content.

mod private;

use std::path::Path as FsPath;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use sandgate_types::TenantId;
use sandgate_workspace::blob::{self, BlobError};
use sandgate_workspace::manifest::Page;
use sandgate_workspace::{BlobName, CHUNK_MAX_BYTES, ContentHash, NameKeys};

use self::private::Private;

/// A blob is never much longer than its content: 16 bytes of header, and what does not compress stays as it is.
const OBJECT_MAX_BYTES: u64 = CHUNK_MAX_BYTES as u64 + 64;
/// Objects written at once for one call: enough to hide a disk's latency, and 2 MiB of memory at most.
pub const WRITES_AT_ONCE: usize = 8;

/// Why an object was not stored or read.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The object store refused, or did not answer.
    #[error("the object store")]
    Store(#[from] object_store::Error),
    /// The object is no blob.
    #[error("object {name} is no blob")]
    Blob {
        /// Which.
        name: BlobName,
        /// Why.
        source: BlobError,
    },
    /// The object's content is not what its name says.
    #[error("object {0} holds something else than its name says")]
    Foreign(BlobName),
}

impl ObjectError {
    /// Whether the object is gone.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Store(object_store::Error::NotFound { .. }) => true,
            Self::Store(_) | Self::Blob { .. } | Self::Foreign(_) => false,
        }
    }
}

/// Where the objects of all tenants are.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    private: Private,
}

impl Objects {
    /// Objects in a directory of this machine, which must be there. What was stored survives a power cut, and no
    /// other user of the machine can read it.
    ///
    /// # Errors
    /// When the directory is not there.
    pub fn directory(directory: &FsPath) -> Result<Self, object_store::Error> {
        let store = LocalFileSystem::new_with_prefix(directory)?.with_fsync(true);
        Ok(Self {
            store: Arc::new(store),
            private: Private::below(directory),
        })
    }

    /// The objects of one tenant, named by its keys.
    pub fn of_tenant(&self, tenant: &TenantId, keys: NameKeys) -> TenantObjects {
        let mut hasher = blake3::Hasher::new_derive_key("sandgate 2025 storage.v1 tenant folder");
        hasher.update(tenant.as_str().as_bytes());
        TenantObjects {
            store: Arc::clone(&self.store),
            private: self.private.clone(),
            folder: hasher.finalize().to_hex()[..32].to_owned(),
            keys,
        }
    }
}

/// The objects of one tenant.
#[derive(Debug, Clone)]
pub struct TenantObjects {
    store: Arc<dyn ObjectStore>,
    private: Private,
    folder: String,
    keys: NameKeys,
}

impl TenantObjects {
    /// The tenant's keys.
    pub fn keys(&self) -> &NameKeys {
        &self.keys
    }

    /// Stores chunks, and answers their names and lengths in order.
    ///
    /// # Errors
    /// See [`ObjectError`]; some of the chunks may be stored.
    pub async fn put_chunks<C: AsRef<[u8]>>(
        &self,
        chunks: &[C],
    ) -> Result<Vec<(BlobName, u32)>, ObjectError> {
        let mut stored = Vec::with_capacity(chunks.len());
        for batch in chunks.chunks(WRITES_AT_ONCE) {
            let puts = batch.iter().map(|chunk| self.put_chunk(chunk.as_ref()));
            stored.extend(try_join_all(puts).await?);
        }
        Ok(stored)
    }

    async fn put_chunk(&self, chunk: &[u8]) -> Result<(BlobName, u32), ObjectError> {
        let name = self.keys.chunk(&ContentHash::of(chunk));
        self.put("c", &name, chunk).await?;
        let length = u32::try_from(chunk.len());
        Ok((name, length.expect("a blob was made of it, so it is short")))
    }

    /// Stores pages of a manifest.
    ///
    /// # Errors
    /// See [`ObjectError`]; some of the pages may be stored.
    pub async fn put_pages(&self, pages: &[Page]) -> Result<(), ObjectError> {
        for batch in pages.chunks(WRITES_AT_ONCE) {
            try_join_all(
                batch
                    .iter()
                    .map(|page| self.put("p", &page.name, &page.bytes)),
            )
            .await?;
        }
        Ok(())
    }

    /// The content of a chunk.
    ///
    /// # Errors
    /// See [`ObjectError`]; also when it has another length than `length`.
    pub async fn chunk(&self, name: &BlobName, length: u32) -> Result<Bytes, ObjectError> {
        let content = self.get("c", name).await?;
        let is_named = self.keys.chunk(&ContentHash::of(&content)) == *name;
        if is_named && content.len() == length as usize {
            Ok(content.into())
        } else {
            Err(ObjectError::Foreign(*name))
        }
    }

    /// A page of a manifest.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub async fn page(&self, name: &BlobName) -> Result<Vec<u8>, ObjectError> {
        let page = self.get("p", name).await?;
        if self.keys.page(&page) == *name {
            Ok(page)
        } else {
            Err(ObjectError::Foreign(*name))
        }
    }

    async fn put(&self, kind: &str, name: &BlobName, content: &[u8]) -> Result<(), ObjectError> {
        let blob = blob::encode(content).map_err(|source| ObjectError::Blob {
            name: *name,
            source,
        })?;
        // Written even when it is there: so a damaged object is mended by whoever sends it again.
        let path = self.path(kind, name);
        self.private.make_room(&path).await?;
        self.store.put(&path, blob.into()).await?;
        self.private.close(&path).await?;
        Ok(())
    }

    async fn get(&self, kind: &str, name: &BlobName) -> Result<Vec<u8>, ObjectError> {
        let object = self.store.get(&self.path(kind, name)).await?;
        if object.meta.size > OBJECT_MAX_BYTES {
            return Err(ObjectError::Foreign(*name));
        }
        let blob = object.bytes().await?;
        blob::decode(&blob).map_err(|source| ObjectError::Blob {
            name: *name,
            source,
        })
    }

    fn path(&self, kind: &str, name: &BlobName) -> Path {
        let name = name.to_string();
        // Directories stay small enough to list.
        Path::from_iter([self.folder.as_str(), kind, &name[..2], &name])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(folder: &tempfile::TempDir, secret: u8) -> TenantObjects {
        let tenant = TenantId::parse("tenant", "acme").expect("valid");
        let objects = Objects::directory(folder.path()).expect("a directory");
        objects.of_tenant(&tenant, NameKeys::derive(&[secret; 32]))
    }

    #[tokio::test]
    async fn a_chunk_is_read_back_as_it_was_stored() {
        let folder = tempfile::tempdir().expect("a folder");
        let objects = objects(&folder, 1);
        let stored = objects
            .put_chunks(&[b"one".as_slice(), b"three"])
            .await
            .expect("stored");
        assert_eq!(stored[1].1, 5);
        let (name, length) = stored[0];
        assert_eq!(
            objects.chunk(&name, length).await.expect("read").as_ref(),
            b"one"
        );
    }

    #[tokio::test]
    async fn a_swapped_damaged_or_missing_object_is_never_content() {
        let folder = tempfile::tempdir().expect("a folder");
        let objects = objects(&folder, 1);
        let stored = objects
            .put_chunks(&[b"one".as_slice(), b"two"])
            .await
            .expect("stored");
        let on_disk = |index: usize| {
            folder
                .path()
                .join(objects.path("c", &stored[index].0).to_string())
        };
        std::fs::copy(on_disk(1), on_disk(0)).expect("swap");
        let error = objects.chunk(&stored[0].0, 3).await.expect_err("swapped");
        assert!(matches!(error, ObjectError::Foreign(_)), "{error:?}");
        let mut bytes = std::fs::read(on_disk(1)).expect("read");
        bytes[16] ^= 1;
        std::fs::write(on_disk(1), bytes).expect("damage");
        assert!(objects.chunk(&stored[1].0, 3).await.is_err());
        std::fs::remove_file(on_disk(1)).expect("remove");
        assert!(
            objects
                .chunk(&stored[1].0, 3)
                .await
                .expect_err("gone")
                .is_missing()
        );
    }

    #[tokio::test]
    async fn names_in_the_bucket_tell_nothing_without_the_tenants_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let one = objects(&folder, 1)
            .put_chunks(&[b"x"])
            .await
            .expect("stored");
        let two = objects(&folder, 2)
            .put_chunks(&[b"x"])
            .await
            .expect("stored");
        assert_ne!(one, two);
    }
}
