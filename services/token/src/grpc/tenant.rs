//! TenantService.

use sandgate_api::timestamp_to;
use sandgate_api::token::v1 as pb;
use sandgate_api::token::v1::tenant_service_server::TenantService;
use sandgate_rpc::{Caller, Fault, page_size};
use sandgate_session::Operations;
use sandgate_types::{Malformed, RequestId, TenantId, Violations};
use tonic::{Request, Response};

use super::{Handlers, Reply};
use crate::authority::name_of;
use crate::error::{not_recorded, tenant_exists, tenant_unknown};
use crate::store::{Created, StoredTenant};
use crate::tenant;

#[tonic::async_trait]
impl TenantService for Handlers {
    async fn create_tenant(
        &self,
        request: Request<pb::CreateTenantRequest>,
    ) -> Reply<pb::CreateTenantResponse> {
        let caller = Caller::of(&request)?;
        let (core, recorder) = self.recorded(&request)?;
        let pb::CreateTenantRequest {
            tenant,
            granted_operations,
            request_id,
        } = request.into_inner();
        let mut violations = Violations::new();
        let tenant = violations.check(TenantId::parse("tenant", &tenant));
        let granted =
            violations.check(Operations::parse("granted_operations", &granted_operations));
        let request_id = violations.check(RequestId::parse("request_id", &request_id));
        let (Some(tenant), Some(granted), Some(id)) = (tenant, granted, request_id) else {
            return Err(Fault::from(violations).into());
        };
        let wanted = StoredTenant {
            tenant,
            granted,
            created_at: core.clock.now(),
        };
        recorder.about(wanted.tenant.as_str(), "");
        recorder.allowed_and_kept().await.map_err(not_recorded)?;
        let created = tenant::create(&core.store, &name_of(Some(&caller)), &wanted, &id).await;
        match created.map_err(Fault::from)? {
            Created::Is(tenant) => {
                core.granted(&tenant);
                Ok(Response::new(pb::CreateTenantResponse {
                    tenant: Some(tenant_to(&tenant)),
                }))
            }
            Created::Differs => Err(tenant_exists().into()),
            Created::IdReused => {
                let rule = "must not name another request than before";
                Err(Fault::from(Malformed::new("request_id", rule)).into())
            }
        }
    }

    async fn update_tenant(
        &self,
        request: Request<pb::UpdateTenantRequest>,
    ) -> Reply<pb::UpdateTenantResponse> {
        let (core, recorder) = self.recorded(&request)?;
        let pb::UpdateTenantRequest {
            tenant,
            granted_operations,
        } = request.into_inner();
        let mut violations = Violations::new();
        let tenant = violations.check(TenantId::parse("tenant", &tenant));
        let granted =
            violations.check(Operations::parse("granted_operations", &granted_operations));
        let (Some(tenant), Some(granted)) = (tenant, granted) else {
            return Err(Fault::from(violations).into());
        };
        recorder.about(tenant.as_str(), "");
        recorder.allowed_and_kept().await.map_err(not_recorded)?;
        let now = core.clock.now();
        let updated = core.store.set_granted(&tenant, &granted, now).await;
        let updated = updated.map_err(Fault::from)?.ok_or_else(tenant_unknown)?;
        core.granted(&updated);
        Ok(Response::new(pb::UpdateTenantResponse {
            tenant: Some(tenant_to(&updated)),
        }))
    }

    async fn list_tenants(
        &self,
        request: Request<pb::ListTenantsRequest>,
    ) -> Reply<pb::ListTenantsResponse> {
        let caller = Caller::of(&request)?;
        let core = self.core()?;
        let pb::ListTenantsRequest {
            page_size: size,
            page_token,
        } = request.into_inner();
        let receiver = format!("{}/tenants", name_of(Some(&caller)));
        let size = page_size(size).map_err(Fault::from)?;
        let position = core
            .pages
            .decode(&receiver, &page_token)
            .map_err(Fault::from)?;
        let after = position
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .unwrap_or_default();
        let (tenants, more) = tenant::page(&core.store, &after, size)
            .await
            .map_err(Fault::from)?;
        let last = tenants.last().filter(|_| more);
        let next = last.map(|tenant| {
            core.pages
                .encode(&receiver, tenant.tenant.as_str().as_bytes())
        });
        Ok(Response::new(pb::ListTenantsResponse {
            tenants: tenants.iter().map(tenant_to).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }
}

fn tenant_to(tenant: &StoredTenant) -> pb::Tenant {
    pb::Tenant {
        tenant: tenant.tenant.as_str().to_owned(),
        granted_operations: tenant.granted.to_list(),
        created_at: Some(timestamp_to(tenant.created_at)),
    }
}
