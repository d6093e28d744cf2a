//! `intents`: what was begun and is not finished, and who is at it.

use sandgate_db::{Write, params};
use sandgate_types::{SandboxId, Timestamp};

use super::{Store, StoreError};
use crate::sandbox::Sandbox;

const SAVE: &str = "
    INSERT INTO intents (sandbox_id, kind, generation, owner, lease_until, begun_at)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (sandbox_id) DO UPDATE SET kind = excluded.kind, generation = excluded.generation,
        owner = excluded.owner, lease_until = excluded.lease_until";
const REMOVE: &str = "DELETE FROM intents WHERE sandbox_id = $1";
const TAKE: &str = "
    UPDATE intents SET owner = $2, lease_until = $3
    WHERE sandbox_id = $1 AND (owner = $2 OR lease_until < $4)";

const SEIZE: &str = "UPDATE intents SET owner = $1, lease_until = $2";
const RELEASE: &str = "UPDATE intents SET lease_until = 0 WHERE owner = $1";

/// Who carries an intent out, and until when nobody else may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    /// One start of an orchestrator.
    pub(crate) owner: String,
    /// Now.
    pub(crate) now: Timestamp,
    /// Until when it is theirs.
    pub(crate) until: Timestamp,
}

/// Writes the intent of a row beside it, or removes it where the row has none.
pub(super) async fn save(
    write: &mut Write,
    sandbox: &Sandbox,
    lease: &Lease,
) -> Result<(), StoreError> {
    let id = sandbox.facts.id.as_str();
    let Some(intent) = sandbox.state.intent else {
        write.execute(REMOVE, params![id]).await?;
        return Ok(());
    };
    let values = params![
        id,
        intent.as_str(),
        sandbox.state.generation.get(),
        lease.owner.as_str(),
        lease.until,
        lease.now,
    ];
    write.execute(SAVE, values).await?;
    Ok(())
}

impl Store {
    /// Takes the intent of a sandbox, or renews what was taken; false while it is somebody else's.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn take(
        &self,
        sandbox: &SandboxId,
        lease: &Lease,
    ) -> Result<bool, StoreError> {
        let values = params![
            sandbox.as_str(),
            lease.owner.as_str(),
            lease.until,
            lease.now
        ];
        Ok(self.database.execute(TAKE, values).await? == 1)
    }

    /// Takes the intents of all others, who are known to be gone.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn seize(&self, lease: &Lease) -> Result<(), StoreError> {
        let values = params![lease.owner.as_str(), lease.until];
        self.database.execute(SEIZE, values).await?;
        Ok(())
    }

    /// Lets others have the intents of an owner who ends.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn release(&self, owner: &str) -> Result<(), StoreError> {
        self.database.execute(RELEASE, params![owner]).await?;
        Ok(())
    }
}
