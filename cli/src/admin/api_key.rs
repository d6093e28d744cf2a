//! `sandgate api-key`.

use std::process::ExitCode;

use anyhow::Context as _;
use sandgate_api::duration_to;
use sandgate_api::token::v1 as pb;
use sandgate_rpc::Role;
use sandgate_types::parse_duration;
use tonic::Request;

use super::{listed, shown};
use crate::args::{ApiKeyVerb, MakeKeyArgs, RoleArg};
use crate::client::Client;
use crate::conversation::answered;
use crate::failure::printable;
use crate::report::{line, print};

/// Does what is asked. A secret goes to standard output alone, so that it can be sent to a file.
pub(crate) async fn api_key(client: &Client, verb: &ApiKeyVerb) -> anyhow::Result<ExitCode> {
    let mut keys = client.api_keys();
    match verb {
        ApiKeyVerb::Create(wanted) => {
            let request = Request::new(asked(wanted)?);
            let made = answered(client, keys.create_api_key(request)).await?;
            let key = made.api_key.context("the mesh answered no key")?;
            line(&format!(
                "sandgate: made {}; it is shown this once",
                told(&key)
            ));
            print(&made.secret)?;
        }
        ApiKeyVerb::List { tenant } => list(client, tenant).await?,
        ApiKeyVerb::Rotate { id, overlap } => {
            let request = Request::new(pb::RotateApiKeyRequest {
                api_key_id: id.clone(),
                overlap: Some(duration_to(parse_duration("--overlap", overlap)?)),
            });
            let made = answered(client, keys.rotate_api_key(request)).await?;
            let key = made.api_key.context("the mesh answered no key")?;
            let end = shown(made.previous_expires_at.as_ref());
            line(&format!(
                "sandgate: made {}; it is shown this once, and {id} is good until {end}",
                told(&key)
            ));
            print(&made.secret)?;
        }
        ApiKeyVerb::Revoke { id } => {
            let request = Request::new(pb::RevokeApiKeyRequest {
                api_key_id: id.clone(),
            });
            let revoked = answered(client, keys.revoke_api_key(request)).await?;
            let at = shown(revoked.revoked_at.as_ref());
            line(&format!("sandgate: {id} is revoked since {at}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn asked(wanted: &MakeKeyArgs) -> anyhow::Result<pb::CreateApiKeyRequest> {
    let lifetime = wanted.lifetime.as_deref();
    let lifetime = lifetime.map(|text| parse_duration("--lifetime", text));
    let role = |role: &RoleArg| match role {
        RoleArg::Caller => Role::Caller,
        RoleArg::Operator => Role::Operator,
        RoleArg::Admin => Role::Admin,
    };
    Ok(pb::CreateApiKeyRequest {
        tenant: wanted.tenant.clone(),
        user: wanted.user.clone(),
        roles: wanted.roles.iter().map(|one| role(one).into()).collect(),
        may_name_users: wanted.names_users,
        description: wanted.description.clone(),
        lifetime: lifetime.transpose()?.map(duration_to),
    })
}

async fn list(client: &Client, tenant: &str) -> anyhow::Result<()> {
    let mut page_token = String::new();
    let mut headed = false;
    loop {
        let request = Request::new(pb::ListApiKeysRequest {
            tenant: tenant.to_owned(),
            page_size: 0,
            page_token,
        });
        let page = answered(client, client.api_keys().list_api_keys(request)).await?;
        if !headed {
            print(&row(["KEY", "USER", "ROLES", "STATE", "DESCRIPTION"]))?;
            headed = true;
        }
        for key in &page.api_keys {
            let state = match (&key.revoked_at, &key.expires_at) {
                (Some(at), _) => format!("revoked {}", shown(Some(at))),
                (None, Some(at)) => format!("until {}", shown(Some(at))),
                (None, None) => "good".to_owned(),
            };
            let (user, roles) = (user_of(key), listed(&roles_of(key)));
            let description = printable(&key.description);
            print(&row([&key.api_key_id, &user, &roles, &state, &description]))?;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(());
        }
    }
}

fn row([key, user, roles, state, description]: [&str; 5]) -> String {
    let row = format!("{key:<26} {user:<16} {roles:<24} {state:<28} {description}");
    row.trim_end().to_owned()
}

/// A key in words.
fn told(key: &pb::ApiKey) -> String {
    let (id, tenant, roles) = (&key.api_key_id, &key.tenant, listed(&roles_of(key)));
    let user = user_of(key);
    format!("API key {id} of tenant {tenant}, user {user}, roles {roles}")
}

fn user_of(key: &pb::ApiKey) -> String {
    match key.user.as_str() {
        "" if key.may_name_users => "names them".to_owned(),
        "" => "-".to_owned(),
        user => user.to_owned(),
    }
}

fn roles_of(key: &pb::ApiKey) -> Vec<String> {
    let name = |role: Role| {
        role.as_str_name()
            .trim_start_matches("ROLE_")
            .to_lowercase()
    };
    key.roles().map(name).collect()
}
