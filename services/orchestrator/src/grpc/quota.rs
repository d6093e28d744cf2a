//! QuotaService.

use sandgate_api::orchestrator::v1 as pb;
use sandgate_api::orchestrator::v1::quota_service_server::QuotaService;
use sandgate_audit::Entry;
use sandgate_rpc::{Caller, Fault, Peer, Role, Service, page_size};
use sandgate_types::{Malformed, TenantId, UserId};
use tonic::{Request, Response};

use super::{Reply, Services};
use crate::caller::ScopeError;
use crate::quota::{Holder, Limits, Quota, Usage};

/// As records name it.
const SET: &str = "sandgate.orchestrator.v1.QuotaService/SetQuota";

#[tonic::async_trait]
impl QuotaService for Services {
    async fn set_quota(
        &self,
        request: Request<pb::SetQuotaRequest>,
    ) -> Reply<pb::SetQuotaResponse> {
        let life = self.life()?;
        let caller = Caller::of(&request)?;
        let pb::SetQuotaRequest { quota } = request.into_inner();
        let quota = quota.ok_or_else(|| Malformed::new("quota", "must be given"));
        let wire = quota.map_err(Fault::from)?;
        let quota = quota_of(wire, life.clock.now()).map_err(Fault::from)?;
        let peer = Peer::Service(Service::AuthGateway);
        let entry = Entry {
            // Whose quota it is, not whose administrator set it.
            tenant: quota.tenant.as_str().to_owned(),
            ..Entry::of_call(SET, &peer, Some(&caller))
        };
        let set = life.store.set_quota(&quota, entry).await;
        set.map_err(Fault::from)?;
        Ok(Response::new(pb::SetQuotaResponse {
            quota: Some(quota_to(&quota)),
        }))
    }

    async fn get_quota(
        &self,
        request: Request<pb::GetQuotaRequest>,
    ) -> Reply<pb::GetQuotaResponse> {
        let life = self.life()?;
        let caller = Caller::of(&request)?;
        let pb::GetQuotaRequest { tenant, user } = request.into_inner();
        let own = caller.tenant.clone();
        let own = own.ok_or(ScopeError::NoCaller).map_err(Fault::from)?;
        let tenant = match tenant.as_str() {
            "" => own.clone(),
            text => TenantId::parse("tenant", text).map_err(Fault::from)?,
        };
        // Another tenant does not exist for an operator: it has no quota and uses nothing.
        let is_theirs = tenant == own || caller.roles.contains(&Role::Admin);
        let user = match user.as_str() {
            "" => None,
            text => Some(UserId::parse("user", text).map_err(Fault::from)?),
        };
        let found = if is_theirs {
            let found = life.store.quota(&tenant, user.as_ref()).await;
            found.map_err(Fault::from)?
        } else {
            (None, Usage::default())
        };
        let (quota, usage) = found;
        let quota = quota.as_ref().map_or_else(
            || pb::Quota {
                tenant: tenant.as_str().to_owned(),
                user: user.map_or_else(String::new, |user| user.as_str().to_owned()),
                ..pb::Quota::default()
            },
            quota_to,
        );
        Ok(Response::new(pb::GetQuotaResponse {
            quota: Some(quota),
            usage: Some(usage_to(usage)),
        }))
    }

    async fn list_quotas(
        &self,
        request: Request<pb::ListQuotasRequest>,
    ) -> Reply<pb::ListQuotasResponse> {
        let life = self.life()?;
        let caller = Caller::of(&request)?;
        let pb::ListQuotasRequest {
            page_size: wished,
            page_token,
        } = request.into_inner();
        let limit = page_size(wished).map_err(Fault::from)?;
        let list = format!("{:?}\nquotas", caller.principal);
        let after = self.pages.decode(&list, &page_token).map_err(Fault::from)?;
        let after = after.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        // No name has a line's end in it.
        let after = after.as_deref().and_then(|text| text.split_once('\n'));
        let quotas = life.store.quotas(after, limit + 1).await;
        let mut quotas = quotas.map_err(Fault::from)?;
        let more = quotas.len() > limit;
        quotas.truncate(limit);
        let next = quotas.last().filter(|_| more).map(|last| {
            let position = format!("{}\n{}", last.tenant.as_str(), last.holder.as_str());
            self.pages.encode(&list, position.as_bytes())
        });
        Ok(Response::new(pb::ListQuotasResponse {
            quotas: quotas.iter().map(quota_to).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }
}

fn quota_of(wire: pb::Quota, now: sandgate_types::Timestamp) -> Result<Quota, Malformed> {
    let pb::Quota {
        tenant,
        user,
        live_sandboxes,
        suspended_sandboxes,
        memory_bytes,
        starts_per_second,
        updated_at: _,
    } = wire;
    let count = |field: &'static str, number: Option<i32>| {
        let counted = number.map(u32::try_from).transpose();
        counted.map_err(|_| Malformed::new(field, "must not be negative"))
    };
    let memory = memory_bytes.map(u64::try_from).transpose();
    let limits = Limits {
        live: count("quota.live_sandboxes", live_sandboxes)?,
        suspended: count("quota.suspended_sandboxes", suspended_sandboxes)?,
        memory: memory.map_err(|_| Malformed::new("quota.memory_bytes", "must not be negative"))?,
        starts_per_second: count("quota.starts_per_second", starts_per_second)?,
    };
    limits.check()?;
    let tenant = TenantId::parse("quota.tenant", &tenant)?;
    let holder = Holder::parse(&user);
    let holder = holder.map_err(|error| Malformed::new("quota.user", error.rule()))?;
    Ok(Quota {
        tenant,
        holder,
        limits,
        updated_at: now,
    })
}

fn quota_to(quota: &Quota) -> pb::Quota {
    let Quota {
        tenant,
        holder,
        limits,
        updated_at,
    } = quota;
    let count = |number: Option<u32>| number.map(|n| i32::try_from(n).unwrap_or(i32::MAX));
    pb::Quota {
        tenant: tenant.as_str().to_owned(),
        user: holder.as_str().to_owned(),
        live_sandboxes: count(limits.live),
        suspended_sandboxes: count(limits.suspended),
        memory_bytes: limits
            .memory
            .map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        starts_per_second: count(limits.starts_per_second),
        updated_at: Some(sandgate_api::timestamp_to(*updated_at)),
    }
}

fn usage_to(usage: Usage) -> pb::QuotaUsage {
    let Usage {
        live,
        suspended,
        memory,
    } = usage;
    pb::QuotaUsage {
        live_sandboxes: i32::try_from(live).unwrap_or(i32::MAX),
        suspended_sandboxes: i32::try_from(suspended).unwrap_or(i32::MAX),
        memory_bytes: i64::try_from(memory).unwrap_or(i64::MAX),
    }
}
