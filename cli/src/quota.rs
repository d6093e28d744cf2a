//! `sandgate quota`: how much a tenant and its users may use at once, and what they use.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use sandgate_api::orchestrator::v1 as pb;
use sandgate_types::ByteSize;
use tonic::Request;

use crate::args::{HolderArgs, LimitArgs, QuotaVerb};
use crate::client::Client;
use crate::conversation::answered;
use crate::report::print;

/// Does what is asked, and prints what holds.
pub(crate) async fn quota(client: &Client, verb: &QuotaVerb) -> anyhow::Result<ExitCode> {
    match verb {
        QuotaVerb::Get { holder } => {
            let (quota, usage) = get(client, holder).await?;
            print(&shown(&quota, Some(&usage)))?;
        }
        QuotaVerb::Set { holder, limits } => {
            let request = Request::new(pb::SetQuotaRequest {
                quota: Some(asked(holder, limits)?),
            });
            let answer = answered(client, client.quotas().set_quota(request)).await?;
            let quota = answer.quota.context("the mesh answered no quota")?;
            print(&shown(&quota, None))?;
        }
        QuotaVerb::List => list(client).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn get(client: &Client, holder: &HolderArgs) -> anyhow::Result<(pb::Quota, pb::QuotaUsage)> {
    if holder.user == "*" {
        bail!(
            "each user uses something else; name one, or see the limits in `sandgate quota list`"
        );
    }
    let request = Request::new(pb::GetQuotaRequest {
        tenant: holder.tenant.clone(),
        user: holder.user.clone(),
    });
    let answer = answered(client, client.quotas().get_quota(request)).await?;
    let pb::GetQuotaResponse { quota, usage } = answer;
    let quota = quota.context("the mesh answered no quota")?;
    Ok((quota, usage.unwrap_or_default()))
}

async fn list(client: &Client) -> anyhow::Result<()> {
    let mut page_token = String::new();
    let mut none = true;
    loop {
        let request = Request::new(pb::ListQuotasRequest {
            page_size: 0,
            page_token,
        });
        let page = answered(client, client.quotas().list_quotas(request)).await?;
        for quota in &page.quotas {
            none = false;
            print(&shown(quota, None))?;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if none {
        print("no quotas are set: nothing is limited")?;
    }
    Ok(())
}

fn asked(holder: &HolderArgs, limits: &LimitArgs) -> anyhow::Result<pb::Quota> {
    let memory = limits.memory.as_deref().map(|text| {
        let size: ByteSize = text.parse().map_err(|rule: sandgate_types::Malformed| {
            anyhow::anyhow!("--memory {}", rule.rule())
        })?;
        i64::try_from(size.bytes()).context("--memory must be less than 8EiB")
    });
    Ok(pb::Quota {
        tenant: holder.tenant.clone(),
        user: holder.user.clone(),
        live_sandboxes: limits.live,
        suspended_sandboxes: limits.suspended,
        memory_bytes: memory.transpose()?,
        starts_per_second: limits.starts_per_second,
        updated_at: None,
    })
}

/// One line: whose it is, and each limit with what is used of it.
fn shown(quota: &pb::Quota, usage: Option<&pb::QuotaUsage>) -> String {
    let whose = match quota.user.as_str() {
        "" => format!("tenant {}", quota.tenant),
        "*" => format!("tenant {}, each user", quota.tenant),
        user => format!("tenant {}, user {user}", quota.tenant),
    };
    let of = |used: Option<String>, limit: Option<String>| match (used, limit) {
        (Some(used), Some(limit)) => format!("{used} of {limit}"),
        (Some(used), None) => format!("{used}, not limited"),
        (None, Some(limit)) => limit,
        (None, None) => "not limited".to_owned(),
    };
    let number = |number: i32| number.to_string();
    let bytes = |bytes: i64| ByteSize::new(u64::try_from(bytes).unwrap_or(0)).to_string();
    let live = of(
        usage.map(|usage| number(usage.live_sandboxes)),
        quota.live_sandboxes.map(number),
    );
    let suspended = of(
        usage.map(|usage| number(usage.suspended_sandboxes)),
        quota.suspended_sandboxes.map(number),
    );
    let memory = of(
        usage.map(|usage| bytes(usage.memory_bytes)),
        quota.memory_bytes.map(bytes),
    );
    let starts = of(None, quota.starts_per_second.map(number));
    format!(
        "{whose}: live {live}; suspended {suspended}; memory {memory}; starts in a second {starts}"
    )
}
