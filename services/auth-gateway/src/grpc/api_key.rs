//! Asks token whom an API key stands for.

use sandgate_api::timestamp_from;
use sandgate_api::token::v1 as pb;
use sandgate_api::token::v1::api_key_service_client::ApiKeyServiceClient;
use sandgate_rpc::{Channel, Role};
use sandgate_types::{ApiKeyId, Malformed, TenantId, UserId};
use tonic::Code;

use crate::keys::Holder;
use crate::refusal::Refusal;

/// Asks token. A key that it does not know, and an answer that it would not give, are refusals alike.
pub(crate) async fn authenticate(channel: Channel, secret: &str) -> Result<Holder, Refusal> {
    let request = pb::AuthenticateApiKeyRequest {
        secret: secret.to_owned(),
    };
    let answered = ApiKeyServiceClient::new(channel)
        .authenticate_api_key(request)
        .await;
    match answered {
        Ok(response) => {
            let pb::AuthenticateApiKeyResponse { api_key } = response.into_inner();
            let holder = api_key.ok_or(Refusal::KeyRefused).map(holder)?;
            holder.map_err(|malformed| {
                tracing::error!(%malformed, "token answered an API key that cannot be");
                Refusal::KeyRefused
            })
        }
        Err(status) if status.code() == Code::Unauthenticated => Err(Refusal::KeyRefused),
        // Malformed text is no key either; token's words about it are not the caller's.
        Err(status) if status.code() == Code::InvalidArgument => Err(Refusal::KeyRefused),
        Err(status) => Err(status.into()),
    }
}

fn holder(key: pb::ApiKey) -> Result<Holder, Malformed> {
    let pb::ApiKey {
        api_key_id,
        tenant,
        user,
        roles,
        may_name_users,
        description: _,
        created_at: _,
        revoked_at,
        expires_at,
    } = key;
    if revoked_at.is_some() {
        return Err(Malformed::new("revoked_at", "must be absent"));
    }
    let user = if user.is_empty() {
        None
    } else {
        Some(UserId::parse("user", &user)?)
    };
    Ok(Holder {
        key: ApiKeyId::parse("api_key_id", &api_key_id)?,
        tenant: TenantId::parse("tenant", &tenant)?,
        user,
        may_name_users,
        expires_at: expires_at
            .map(|at| timestamp_from("expires_at", &at))
            .transpose()?,
        roles: roles
            .into_iter()
            .filter_map(|role| Role::try_from(role).ok())
            // No key is ever a daemon, whatever token says.
            .filter(|role| *role != Role::Daemon)
            .collect(),
    })
}
