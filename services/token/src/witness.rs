//! The head of the feed, noted outside of the database: a database that was restored from a backup has lost
//! revocations, and by this note it is found out before anything is served.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use sandgate_session::{RevocationScope, RevocationTarget};
use sandgate_types::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::{Added, Store, StoreError};

/// Tenants that are read at once.
const PAGE: i64 = 1_000;
/// What the rows of a regression say.
const REASON: &str = "the database had lost revocations";

/// Where a feed stood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Note {
    /// The incarnation.
    pub incarnation: String,
    /// Its head.
    pub head: i64,
}

/// Why there is no note.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// The file.
    #[error("note the feed's head in {}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads the note; `None` when there is none yet.
///
/// # Errors
/// When the file cannot be read, or holds something else: then nothing is known, and nothing may be served.
pub(crate) fn read(path: &Path) -> Result<Option<Note>, WitnessError> {
    let failed = |source| WitnessError::File {
        path: path.to_owned(),
        source,
    };
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| failed(error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Replaces the note, and makes it last.
///
/// # Errors
/// When the file cannot be written.
pub(crate) async fn write(path: PathBuf, note: Note) -> Result<(), WitnessError> {
    let failing = path.clone();
    let failed = |source| WitnessError::File {
        path: failing,
        source,
    };
    let written = tokio::task::spawn_blocking(move || {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec(&note)?)?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)?;
        std::fs::File::open(folder)?.sync_all()
    });
    written
        .await
        .map_err(io::Error::other)
        .flatten()
        .map_err(failed)
}

/// Whether the database, by the note, has lost revocations.
///
/// # Errors
/// See [`WitnessError`].
pub(crate) async fn has_lost(
    store: &Store,
    note: Option<Note>,
    incarnation: &str,
) -> Result<bool, WitnessError> {
    let head = store.feed_head().await?;
    Ok(note.is_some_and(|note| note.incarnation != incarnation || note.head > head))
}

/// Revokes every session that began before now and every API key, and gives the feed the incarnation `fresh`: which
/// of them were revoked is what the database has lost.
///
/// # Errors
/// See [`WitnessError`].
pub(crate) async fn begin_anew(
    store: &Store,
    fresh: &str,
    now: Timestamp,
) -> Result<(), WitnessError> {
    let added = Added {
        reason: REASON,
        by: "token",
        at: now,
        above: 0,
    };
    let mut after = String::new();
    loop {
        let tenants = store.tenants_after(&after, PAGE).await?;
        let Some(last) = tenants.last() else { break };
        last.tenant.as_str().clone_into(&mut after);
        for tenant in tenants {
            let target =
                RevocationTarget::sessions(tenant.tenant, RevocationScope::SessionsBefore(now));
            store.revoke(&target, &added).await?;
        }
    }
    let keys = store.revoke_all_api_keys(&added).await?;
    store.set_incarnation(fresh).await?;
    tracing::error!(
        keys,
        "the database has lost revocations: every session and every API key so far is revoked; to get a new first \
         key, end the service, move the file of the old one away and run `sandgate init`"
    );
    Ok(())
}
