//! `sandboxes` and `conversations`.

use sandgate_db::{Database, Row, Value, Write, params};
use sandgate_types::{ConversationId, Labels, SandboxId, TenantId, Timestamp, UserId};

use super::{Store, StoreError, rows};
use crate::sandbox::{Facts, Phase, Sandbox};

const GET: &str = "
    SELECT s.*, i.kind AS intent_kind FROM sandboxes AS s
    LEFT JOIN intents AS i ON i.sandbox_id = s.sandbox_id WHERE s.sandbox_id = $1";
const LIVE: &str = "
    SELECT s.*, i.kind AS intent_kind FROM sandboxes AS s
    LEFT JOIN intents AS i ON i.sandbox_id = s.sandbox_id
    WHERE s.tenant = $1 AND s.conversation = $2 AND s.live = 1";
const ALL_LIVE: &str = "
    SELECT s.*, i.kind AS intent_kind, i.owner AS intent_owner, i.lease_until AS intent_until FROM sandboxes AS s
    LEFT JOIN intents AS i ON i.sandbox_id = s.sandbox_id
    WHERE s.live = 1 AND s.sandbox_id > $1 ORDER BY s.sandbox_id LIMIT $2";
const EXPIRED: &str = "
    SELECT sandbox_id FROM sandboxes WHERE live = 1 AND expires_at <= $1 AND phase NOT IN ('DELETING', 'FINISHED', 'FAILED')
    ORDER BY expires_at LIMIT $2";
const LIST: &str = "
    SELECT s.*, i.kind AS intent_kind FROM sandboxes AS s
    LEFT JOIN intents AS i ON i.sandbox_id = s.sandbox_id
    WHERE s.tenant = $1 AND (s.created_at < $2 OR (s.created_at = $2 AND s.sandbox_id < $3))
      AND ($4 = '' OR s.user_name = $4) AND ($5 = '' OR s.conversation = $5)
    ORDER BY s.created_at DESC, s.sandbox_id DESC LIMIT $6";
const OWN: &str = "
    INSERT INTO conversations (tenant, conversation, owner, created_at) VALUES ($1, $2, $3, $4)
    ON CONFLICT DO NOTHING";
const OWNER: &str = "SELECT owner FROM conversations WHERE tenant = $1 AND conversation = $2";
const INSERT: &str = "
    INSERT INTO sandboxes (sandbox_id, version, tenant, user_name, conversation, template, labels,
        created_at, ttl, idle_timeout, memory, operations, live, phase, reason, message, generation,
        instance_id, session_id, claimed_at, cold, complete, gone, expires_at, workspace_version,
        ended_at, exit_code, signal, last_output, not_synced, bounds, awaits_environment,
        has_environment)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
        $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33)";
const UPDATE: &str = "
    UPDATE sandboxes SET version = $2, live = $3, phase = $4, reason = $5, message = $6,
        generation = $7, instance_id = $8, session_id = $9, claimed_at = $10, cold = $11, complete = $12,
        gone = $13, expires_at = $14, workspace_version = $15, ended_at = $16, exit_code = $17,
        signal = $18, last_output = $19, not_synced = $20, bounds = $21, awaits_environment = $22,
        has_environment = $23
    WHERE sandbox_id = $1 AND version = $2 - 1";
const FORGET: &str = "DELETE FROM sandboxes WHERE live = 0 AND ended_at < $1";
/// Rows that one statement of the reconciler reads.
const BATCH: i64 = 1_000;

/// Which sandboxes a caller asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Of this tenant.
    pub(crate) tenant: TenantId,
    /// Of this user.
    pub(crate) user: Option<UserId>,
    /// Of this conversation.
    pub(crate) conversation: Option<ConversationId>,
    /// In one of these phases; empty means all but DELETED.
    pub(crate) phases: Vec<Phase>,
    /// With all of these labels.
    pub(crate) labels: Labels,
}

impl Filter {
    fn takes(&self, sandbox: &Sandbox) -> bool {
        let phase = if self.phases.is_empty() {
            sandbox.state.phase != Phase::Deleted
        } else {
            self.phases.contains(&sandbox.state.phase)
        };
        phase
            && self
                .labels
                .iter()
                .all(|(key, value)| sandbox.facts.labels.get(key) == Some(value))
    }
}

/// Who carries an intent out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lessee {
    owner: String,
    until: Timestamp,
}

impl Lessee {
    /// Whether it is somebody else than `owner`, who may still be at it at `now`.
    pub(crate) fn is_other(&self, owner: &str, now: Timestamp) -> bool {
        self.owner != owner && self.until >= now
    }
}

/// The last sandbox of a page; the next one begins behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// When it was created.
    pub(crate) created_at: Timestamp,
    /// Its id, since several may be of one instant.
    pub(crate) sandbox: SandboxId,
}

fn read(row: &Row) -> Result<Sandbox, StoreError> {
    let intent: Option<String> = row.get("intent_kind")?;
    rows::read(row, intent.as_deref())
}

fn state_values(sandbox: &Sandbox) -> Result<Vec<Value>, StoreError> {
    let mut values: Vec<Value> = vec![sandbox.facts.id.as_str().into(), sandbox.version.into()];
    values.extend(rows::state(&sandbox.state)?);
    Ok(values)
}

/// Notes the owner of a conversation unless it has one, and answers who it is.
pub(super) async fn own(write: &mut Write, facts: &Facts) -> Result<UserId, StoreError> {
    let (tenant, conversation) = (facts.tenant.as_str(), facts.conversation.as_str());
    write
        .execute(
            OWN,
            params![tenant, conversation, facts.user.as_str(), facts.created_at],
        )
        .await?;
    let row = write
        .fetch_one(OWNER, params![tenant, conversation])
        .await?;
    Ok(UserId::parse("owner", &row.text("owner")?)?)
}

pub(super) async fn live(
    write: &mut Write,
    tenant: &TenantId,
    conversation: &ConversationId,
) -> Result<Option<Sandbox>, StoreError> {
    let row = write
        .fetch_optional(LIVE, params![tenant.as_str(), conversation.as_str()])
        .await?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn find_live(
    database: &Database,
    tenant: &TenantId,
    conversation: &ConversationId,
) -> Result<Option<Sandbox>, StoreError> {
    let row = database
        .fetch_optional(LIVE, params![tenant.as_str(), conversation.as_str()])
        .await?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn insert(write: &mut Write, new: &Sandbox) -> Result<(), StoreError> {
    let mut values: Vec<Value> = vec![new.facts.id.as_str().into(), new.version.into()];
    values.extend(rows::facts(&new.facts)?);
    values.extend(rows::state(&new.state)?);
    write.execute(INSERT, &values).await?;
    Ok(())
}

/// Writes the state over the version before it; false when the row has another one.
pub(super) async fn update(write: &mut Write, next: &Sandbox) -> Result<bool, StoreError> {
    Ok(write.execute(UPDATE, &state_values(next)?).await? == 1)
}

pub(super) async fn forget(write: &mut Write, ended_before: Timestamp) -> Result<u64, StoreError> {
    Ok(write.execute(FORGET, params![ended_before]).await?)
}

pub(super) async fn get(
    database: &Database,
    id: &SandboxId,
) -> Result<Option<Sandbox>, StoreError> {
    let row = database.fetch_optional(GET, params![id.as_str()]).await?;
    row.as_ref().map(read).transpose()
}

impl Store {
    /// Every sandbox that holds a conversation, and who carries its intent out, in batches behind `after`; an
    /// empty batch is the end.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn live_after(
        &self,
        after: Option<&SandboxId>,
    ) -> Result<Vec<(Sandbox, Option<Lessee>)>, StoreError> {
        let after = after.map_or("", SandboxId::as_str);
        let rows = self
            .database
            .fetch_all(ALL_LIVE, params![after, BATCH])
            .await?;
        let mut live = Vec::with_capacity(rows.len());
        for row in &rows {
            let owner: Option<String> = row.get("intent_owner")?;
            let until: Option<Timestamp> = row.get("intent_until")?;
            let lessee = owner
                .zip(until)
                .map(|(owner, until)| Lessee { owner, until });
            live.push((read(row)?, lessee));
        }
        Ok(live)
    }

    /// Sandboxes whose time was up at `now`, the longest overdue first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn expired(&self, now: Timestamp) -> Result<Vec<SandboxId>, StoreError> {
        let rows = self
            .database
            .fetch_all(EXPIRED, params![now, BATCH])
            .await?;
        let mut ids = Vec::with_capacity(rows.len());
        for row in &rows {
            ids.push(SandboxId::parse("sandbox_id", &row.text("sandbox_id")?)?);
        }
        Ok(ids)
    }

    /// At most `limit` sandboxes that the filter takes, newest first, behind `after`.
    ///
    /// Labels and phases are filtered here, row by row: they are few, and of one tenant.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn list(
        &self,
        filter: &Filter,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Vec<Sandbox>, StoreError> {
        let mut cursor = after.map_or((i64::MAX, String::new()), |cursor| {
            (
                cursor.created_at.as_micros(),
                cursor.sandbox.as_str().to_owned(),
            )
        });
        let mut found = Vec::new();
        loop {
            let user = filter.user.as_ref().map_or("", UserId::as_str);
            let conversation = filter
                .conversation
                .as_ref()
                .map_or("", ConversationId::as_str);
            let values = params![
                filter.tenant.as_str(),
                cursor.0,
                cursor.1.as_str(),
                user,
                conversation,
                BATCH,
            ];
            let rows = self.database.fetch_all(LIST, values).await?;
            for row in &rows {
                let sandbox = read(row)?;
                cursor = (
                    sandbox.facts.created_at.as_micros(),
                    sandbox.facts.id.as_str().to_owned(),
                );
                if filter.takes(&sandbox) {
                    found.push(sandbox);
                    if found.len() == limit {
                        return Ok(found);
                    }
                }
            }
            if i64::try_from(rows.len()).unwrap_or(BATCH) < BATCH {
                return Ok(found);
            }
        }
    }
}
