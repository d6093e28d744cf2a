//! `sandgate tenant`.

use std::process::ExitCode;

use anyhow::Context as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_api::token::v1 as pb;
use sandgate_types::LinkId;
use tonic::Request;

use super::{listed, shown};
use crate::args::TenantVerb;
use crate::client::Client;
use crate::conversation::answered;
use crate::report::{line, print};

/// Does what is asked, and prints what holds.
pub(crate) async fn tenant(client: &Client, verb: &TenantVerb) -> anyhow::Result<ExitCode> {
    match verb {
        TenantVerb::Create { name, grants } => {
            let request = pb::CreateTenantRequest {
                tenant: name.clone(),
                granted_operations: grants.clone(),
                request_id: LinkId::random(&mut StdRng::from_os_rng()).to_string(),
            };
            let mut tenants = client.tenants();
            let answer = answered(client, tenants.create_tenant(Request::new(request))).await?;
            said(answer.tenant)?;
        }
        TenantVerb::Grant { name, operations } => {
            let request = pb::UpdateTenantRequest {
                tenant: name.clone(),
                granted_operations: operations.clone(),
            };
            let mut tenants = client.tenants();
            let answer = answered(client, tenants.update_tenant(Request::new(request))).await?;
            said(answer.tenant)?;
            line(&format!(
                "sandgate: tokens that are out there keep what they say until they are renewed; \
                 `sandgate revoke --tenant {name} --before now` ends them"
            ));
        }
        TenantVerb::List => list(client).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn said(tenant: Option<pb::Tenant>) -> anyhow::Result<()> {
    let tenant = tenant.context("the mesh answered no tenant")?;
    let grants = listed(&tenant.granted_operations);
    print(&format!("tenant {}: granted {grants}", tenant.tenant))?;
    Ok(())
}

async fn list(client: &Client) -> anyhow::Result<()> {
    let mut page_token = String::new();
    let mut headed = false;
    loop {
        let request = Request::new(pb::ListTenantsRequest {
            page_size: 0,
            page_token,
        });
        let page = answered(client, client.tenants().list_tenants(request)).await?;
        // A refusal is not a table.
        if !headed {
            print(&format!("{:<24} {:<20} {}", "TENANT", "CREATED", "GRANTED"))?;
            headed = true;
        }
        for tenant in &page.tenants {
            let created = shown(tenant.created_at.as_ref());
            let grants = listed(&tenant.granted_operations);
            print(&format!("{:<24} {created:<20} {grants}", tenant.tenant))?;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(());
        }
    }
}
