//! `sandgate revoke`.

use std::process::ExitCode;

use anyhow::Context as _;
use prost_types::Timestamp;
use sandgate_api::token::v1 as pb;
use sandgate_api::token::v1::revocation_target::Scope;
use sandgate_types::Clock as _;
use tonic::Request;

use crate::args::{RevokeArgs, ScopeArgs};
use crate::client::Client;
use crate::conversation::answered;
use crate::report::line;

/// Revokes, and says how far that has come by now: nothing that it names is served any more.
pub(crate) async fn revoke(client: &Client, args: &RevokeArgs) -> anyhow::Result<ExitCode> {
    let request = Request::new(pb::RevokeRequest {
        target: Some(pb::RevocationTarget {
            tenant: args.tenant.clone(),
            scope: Some(scope(&args.scope)?),
        }),
        reason: args.reason.clone(),
    });
    let revoked = answered(client, client.revocations().revoke(request)).await?;
    let pb::RevokeResponse {
        sequence,
        acknowledged,
        lapsed,
    } = revoked;
    line(&format!(
        "sandgate: revoked as number {sequence}; gates that refuse it from now on: {acknowledged}, \
         gates that refuse everything: {lapsed}"
    ));
    Ok(ExitCode::SUCCESS)
}

fn scope(args: &ScopeArgs) -> anyhow::Result<Scope> {
    let ScopeArgs {
        token,
        instance,
        sandbox,
        conversation,
        user,
        before,
        whole_tenant,
    } = args.clone();
    let before = before.as_deref().map(instant).transpose()?;
    let scopes = [
        token.map(Scope::TokenId),
        instance.map(Scope::InstanceId),
        sandbox.map(Scope::SandboxId),
        conversation.map(Scope::Conversation),
        user.map(Scope::User),
        before.map(Scope::SessionsBefore),
        whole_tenant.then_some(Scope::WholeTenant(true)),
    ];
    // Clap sees to it that there is one.
    let scope = scopes.into_iter().flatten().next();
    scope.context("name what is revoked")
}

fn instant(text: &str) -> anyhow::Result<Timestamp> {
    if text == "now" {
        return Ok(sandgate_api::timestamp_to(
            sandgate_types::SystemClock.now(),
        ));
    }
    let at = humantime::parse_rfc3339(text);
    let at = at.context("--before must be now, or an instant like 2026-11-25T12:00:00Z")?;
    let since = at.duration_since(std::time::UNIX_EPOCH);
    let seconds = since
        .context("--before must not lie before 1970")?
        .as_secs();
    Ok(Timestamp {
        seconds: i64::try_from(seconds)?,
        nanos: 0,
    })
}
