//! The database of the orchestrator: rows, intents, remembered requests, audit records.
//!
//! A row is written with its intent in one transaction, by compare-and-swap on its version. Nothing here
//! decides; that there is one live sandbox for each conversation is kept by a unique index, and whose a
//! conversation is by a row that nothing removes.

mod audit;
mod chain;
mod intents;
mod quotas;
mod requests;
mod rows;
mod sandboxes;

use std::sync::Arc;

use sandgate_audit::Entry;
use sandgate_db::{Database, DbError, Migration, Migrations};
use sandgate_types::{Clock, SandboxId, Timestamp, UserId};

use self::chain::Chain;
use crate::quota::{Asked, Exceeded};
use crate::sandbox::Sandbox;

pub(crate) use audit::{Appended, RecordCursor, RecordFilter};
pub(crate) use intents::Lease;
pub(crate) use requests::{Memo, RequestKey};
pub(crate) use sandboxes::{Cursor, Filter};

/// The schema of the orchestrator.
pub(crate) static MIGRATIONS: Migrations = Migrations {
    service: "orchestrator",
    steps: &[
        Migration::same(
            1,
            "sandboxes",
            include_str!("../migrations/0001_sandboxes.sql"),
        ),
        Migration::same(2, "audit", include_str!("../migrations/0002_audit.sql")),
        Migration::same(3, "wishes", include_str!("../migrations/0003_wishes.sql")),
        Migration::same(4, "quotas", include_str!("../migrations/0004_quotas.sql")),
    ],
};

/// The unique index that keeps promise 1.
const LIVE_CONVERSATION: &str = "sandboxes_live_conversation";

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The database refused, or did not answer.
    #[error("the database of the orchestrator")]
    Database(#[from] DbError),
    /// A row holds what this program never writes.
    #[error("a row of {table} cannot be read: {rule}")]
    Damaged {
        /// The table.
        table: &'static str,
        /// What is wrong with it.
        rule: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed a moment later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Database(error) => error.is_transient(),
            Self::Damaged { .. } => false,
        }
    }
}

/// What became of a create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Creation {
    /// The row was made.
    Created(Sandbox),
    /// The conversation has a live sandbox; nothing was written.
    Live(Sandbox),
    /// The conversation belongs to another user; nothing was written.
    OwnedBy(UserId),
    /// The request was answered before; nothing was written.
    Replayed(Memo),
    /// A quota is in the way; nothing was written.
    Exceeds(Exceeded),
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Saved {
    /// It was made.
    Written,
    /// The row has another version; nothing was written.
    Stale,
    /// A quota is in the way; nothing was written.
    Exceeds(Exceeded),
}

/// The open database.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    database: Database,
    chain: Arc<Chain>,
}

/// What is written with a row, in the same transaction.
#[derive(Debug, Default)]
pub(crate) struct Beside<'a> {
    /// The record of the change.
    pub(crate) entry: Option<Entry>,
    /// The request that asked for it, to be remembered.
    pub(crate) request: Option<(&'a RequestKey, Memo)>,
    /// What the change uses of quotas, which have to admit it.
    pub(crate) uses: Option<Asked>,
}

impl Store {
    /// The store in an open database, which puts what it does on record as `writer`.
    pub(crate) fn new(database: Database, writer: String, clock: Arc<dyn Clock>) -> Self {
        Self {
            database,
            chain: Arc::new(Chain::new(writer, clock)),
        }
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        Ok(self.database.ping().await?)
    }

    /// Makes a row with its intent, the conversation's owner, the memory of the request and the record, in
    /// one transaction; or finds what is in the way, and writes nothing.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn create(
        &self,
        new: &Sandbox,
        lease: &Lease,
        request: Option<(&RequestKey, [u8; 32])>,
        entry: Entry,
    ) -> Result<Creation, StoreError> {
        let facts = &new.facts;
        let mut turn = self.chain.turn().await;
        let mut write = self.database.begin_write().await?;
        if let Some((key, _)) = request
            && let Some(memo) = requests::find(&mut write, key).await?
        {
            write.rollback().await?;
            return Ok(Creation::Replayed(memo));
        }
        let owner = sandboxes::own(&mut write, facts).await?;
        if owner != facts.user {
            write.rollback().await?;
            return Ok(Creation::OwnedBy(owner));
        }
        if let Some(live) = sandboxes::live(&mut write, &facts.tenant, &facts.conversation).await? {
            write.rollback().await?;
            return Ok(Creation::Live(live));
        }
        let asked = Asked::Start {
            memory: facts.memory,
        };
        let admitted = quotas::admitted(&mut write, facts, asked, facts.created_at).await?;
        if let Some(exceeded) = admitted {
            write.rollback().await?;
            return Ok(Creation::Exceeds(exceeded));
        }
        match sandboxes::insert(&mut write, new).await {
            Ok(()) => {}
            // Another writer, past every lock of ours: its row is found by the next try.
            Err(StoreError::Database(error)) if error.is_unique_violation_on(LIVE_CONVERSATION) => {
                write.rollback().await?;
                let live = sandboxes::find_live(&self.database, &facts.tenant, &facts.conversation)
                    .await?;
                return live.map(Creation::Live).ok_or(StoreError::Database(error));
            }
            Err(error) => return Err(error),
        }
        intents::save(&mut write, new, lease).await?;
        if let Some((key, content)) = request {
            let memo = Memo {
                content,
                sandbox: facts.id.clone(),
                created: true,
            };
            requests::remember(&mut write, key, &memo, facts.created_at).await?;
        }
        turn.append(&mut write, entry).await?;
        write.commit().await?;
        turn.committed();
        Ok(Creation::Created(new.clone()))
    }

    /// Writes `next`, its intent and what belongs beside it, if the row still has the version before it and quotas
    /// admit it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn save(
        &self,
        next: &Sandbox,
        lease: &Lease,
        beside: Beside<'_>,
    ) -> Result<Saved, StoreError> {
        let Beside {
            entry,
            request,
            uses,
        } = beside;
        let mut turn = match &entry {
            Some(_) => Some(self.chain.turn().await),
            None => None,
        };
        let mut write = self.database.begin_write().await?;
        // Before the row is written: what is counted is what there is beside it.
        if let Some(asked) = uses {
            let admitted = quotas::admitted(&mut write, &next.facts, asked, lease.now).await?;
            if let Some(exceeded) = admitted {
                write.rollback().await?;
                return Ok(Saved::Exceeds(exceeded));
            }
        }
        if !sandboxes::update(&mut write, next).await? {
            write.rollback().await?;
            return Ok(Saved::Stale);
        }
        intents::save(&mut write, next, lease).await?;
        if let Some((key, memo)) = request {
            requests::remember(&mut write, key, &memo, lease.now).await?;
        }
        if let (Some(turn), Some(entry)) = (&mut turn, entry) {
            turn.append(&mut write, entry).await?;
        }
        write.commit().await?;
        if let Some(turn) = turn {
            turn.committed();
        }
        Ok(Saved::Written)
    }

    /// Removes rows that ended before `ended_before`, and memories of requests from before `asked_before`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn forget(
        &self,
        ended_before: Timestamp,
        asked_before: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut write = self.database.begin_write().await?;
        let rows = sandboxes::forget(&mut write, ended_before).await?;
        requests::forget(&mut write, asked_before).await?;
        quotas::forget(&mut write, asked_before).await?;
        write.commit().await?;
        Ok(rows)
    }

    /// The row of a sandbox.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn get(&self, id: &SandboxId) -> Result<Option<Sandbox>, StoreError> {
        sandboxes::get(&self.database, id).await
    }
}

#[cfg(test)]
pub(crate) mod tests;
