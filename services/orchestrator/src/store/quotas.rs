//! `quotas` and `start_rates`. Reads within a write transaction: nobody else writes until it ends, so what is counted
//! is what there is.

use sandgate_db::{Row, Write, params};
use sandgate_types::{TenantId, Timestamp, UserId};

use super::{Store, StoreError};
use crate::quota::{Asked, Bucket, Exceeded, Holder, Limits, Quota, Resource, Usage, admit};
use crate::sandbox::Facts;

const SET: &str = "
    INSERT INTO quotas (tenant, user_name, live, suspended, memory, starts_per_second, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (tenant, user_name) DO UPDATE SET live = excluded.live, suspended = excluded.suspended,
        memory = excluded.memory, starts_per_second = excluded.starts_per_second,
        updated_at = excluded.updated_at";
const REMOVE: &str = "DELETE FROM quotas WHERE tenant = $1 AND user_name = $2";
const REMOVE_RATE: &str =
    "DELETE FROM start_rates WHERE tenant = $1 AND ($2 IN ('', '*') OR user_name = $2)";
/// The tenant's, and the user's own before that of each user.
const OF: &str = "
    SELECT * FROM quotas WHERE tenant = $1 AND user_name IN ('', '*', $2) ORDER BY user_name DESC LIMIT 3";
const LIST: &str = "
    SELECT * FROM quotas WHERE tenant > $1 OR (tenant = $1 AND user_name > $2)
    ORDER BY tenant, user_name LIMIT $3";
const USED: &str = "
    SELECT COALESCE(SUM(CASE WHEN phase = 'SUSPENDED' THEN 0 ELSE 1 END), 0) AS live,
        COALESCE(SUM(CASE WHEN phase = 'SUSPENDED' THEN 1 ELSE 0 END), 0) AS suspended,
        CAST(COALESCE(SUM(CASE WHEN phase = 'SUSPENDED' THEN 0 ELSE memory END), 0) AS BIGINT) AS memory
    FROM sandboxes WHERE live = 1 AND tenant = $1 AND ($2 = '' OR user_name = $2)";
const RATE: &str = "SELECT left_micros, at FROM start_rates WHERE tenant = $1 AND user_name = $2";
const SAVE_RATE: &str = "
    INSERT INTO start_rates (tenant, user_name, left_micros, at) VALUES ($1, $2, $3, $4)
    ON CONFLICT (tenant, user_name) DO UPDATE SET left_micros = excluded.left_micros, at = excluded.at";
const FORGET_RATES: &str = "DELETE FROM start_rates WHERE at < $1";

fn damaged(rule: impl ToString) -> StoreError {
    StoreError::Damaged {
        table: "quotas",
        rule: rule.to_string(),
    }
}

fn read(row: &Row) -> Result<Quota, StoreError> {
    let number = |column: &'static str| -> Result<Option<u32>, StoreError> {
        row.get::<Option<i64>>(column)?
            .map(|number| u32::try_from(number).map_err(damaged))
            .transpose()
    };
    let memory = row.get::<Option<i64>>("memory")?;
    Ok(Quota {
        tenant: TenantId::parse("tenant", &row.text("tenant")?)?,
        holder: Holder::parse(&row.text("user_name")?)?,
        limits: Limits {
            live: number("live")?,
            suspended: number("suspended")?,
            memory: memory
                .map(|bytes| u64::try_from(bytes).map_err(damaged))
                .transpose()?,
            starts_per_second: number("starts_per_second")?,
        },
        updated_at: row.get("updated_at")?,
    })
}

fn usage(row: &Row) -> Result<Usage, StoreError> {
    Ok(Usage {
        live: u32::try_from(row.integer("live")?).map_err(damaged)?,
        suspended: u32::try_from(row.integer("suspended")?).map_err(damaged)?,
        memory: u64::try_from(row.integer("memory")?).map_err(damaged)?,
    })
}

/// The tenant's quota and the one that holds for a user, of those that there are.
fn that_hold(quotas: Vec<Quota>) -> (Option<Quota>, Option<Quota>) {
    let (mut tenant, mut user) = (None, None);
    for quota in quotas {
        match &quota.holder {
            Holder::Tenant => tenant = Some(quota),
            Holder::User(_) => user = Some(quota),
            Holder::EachUser => user = user.or(Some(quota)),
        }
    }
    (tenant, user)
}

/// Admits what is asked for a sandbox, or says which quota is in the way. A start that is admitted is counted among
/// those of its second.
pub(super) async fn admitted(
    write: &mut Write,
    facts: &Facts,
    asked: Asked,
    now: Timestamp,
) -> Result<Option<Exceeded>, StoreError> {
    let (tenant, user) = (facts.tenant.as_str(), facts.user.as_str());
    let rows = write.fetch_all(OF, params![tenant, user]).await?;
    let quotas = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let (of_tenant, of_user) = that_hold(quotas);
    let held = [(of_tenant, ""), (of_user, user)];
    for (quota, holder) in &held {
        let Some(Quota { limits, .. }) = quota else {
            continue;
        };
        let row = write.fetch_one(USED, params![tenant, *holder]).await?;
        let of_user = !holder.is_empty();
        if let Err(exceeded) = admit(limits, &usage(&row)?, asked, of_user) {
            return Ok(Some(exceeded));
        }
    }
    if asked == Asked::Suspend {
        return Ok(None);
    }
    for (quota, holder) in &held {
        let rate = quota
            .as_ref()
            .and_then(|quota| quota.limits.starts_per_second);
        let Some(rate) = rate else { continue };
        let row = write.fetch_optional(RATE, params![tenant, *holder]).await?;
        let before = match row {
            Some(row) => Some(Bucket {
                left: row.integer("left_micros")?,
                at: row.get("at")?,
            }),
            None => None,
        };
        match Bucket::take(before, rate, now) {
            Ok(Bucket { left, at }) => {
                let values = params![tenant, *holder, left, at];
                write.execute(SAVE_RATE, values).await?;
            }
            Err(wait) => {
                return Ok(Some(Exceeded {
                    resource: Resource::Starts,
                    of_user: !holder.is_empty(),
                    limit: rate.into(),
                    used: rate.into(),
                    wait: (rate > 0).then_some(wait),
                }));
            }
        }
    }
    Ok(None)
}

/// Forgets the starts of long ago: a bucket that is not there is full.
pub(super) async fn forget(write: &mut Write, before: Timestamp) -> Result<(), StoreError> {
    write.execute(FORGET_RATES, params![before]).await?;
    Ok(())
}

impl Store {
    /// Sets a quota, with its record; one without limits is removed.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn set_quota(
        &self,
        quota: &Quota,
        entry: sandgate_audit::Entry,
    ) -> Result<(), StoreError> {
        let Quota {
            tenant,
            holder,
            limits,
            updated_at,
        } = quota;
        let (tenant, holder) = (tenant.as_str(), holder.as_str());
        let mut turn = self.chain.turn().await;
        let mut write = self.database.begin_write().await?;
        if limits.is_none() {
            write.execute(REMOVE, params![tenant, holder]).await?;
        } else {
            let memory = limits.memory.map(i64::try_from).transpose();
            let values = params![
                tenant,
                holder,
                limits.live.map(i64::from),
                limits.suspended.map(i64::from),
                memory.map_err(damaged)?,
                limits.starts_per_second.map(i64::from),
                *updated_at,
            ];
            write.execute(SET, values).await?;
        }
        // What was left under another rate says nothing about this one.
        write.execute(REMOVE_RATE, params![tenant, holder]).await?;
        turn.append(&mut write, entry).await?;
        write.commit().await?;
        turn.committed();
        Ok(())
    }

    /// The quota that holds for a tenant, or for a user of it, and what is used.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn quota(
        &self,
        tenant: &TenantId,
        user: Option<&UserId>,
    ) -> Result<(Option<Quota>, Usage), StoreError> {
        let user = user.map_or("", UserId::as_str);
        let rows = self
            .database
            .fetch_all(OF, params![tenant.as_str(), user])
            .await?;
        let quotas = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let (of_tenant, of_user) = that_hold(quotas);
        let row = self
            .database
            .fetch_optional(USED, params![tenant.as_str(), user])
            .await?;
        let usage = row.as_ref().map(usage).transpose()?.unwrap_or_default();
        let quota = if user.is_empty() { of_tenant } else { of_user };
        Ok((quota, usage))
    }

    /// At most `limit` quotas behind that of `after`, by tenant and user.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn quotas(
        &self,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<Quota>, StoreError> {
        let (tenant, holder) = after.unwrap_or_default();
        let limit = i64::try_from(limit).map_err(damaged)?;
        let rows = self
            .database
            .fetch_all(LIST, params![tenant, holder, limit])
            .await?;
        rows.iter().map(read).collect()
    }
}
