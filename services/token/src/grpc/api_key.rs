//! ApiKeyService.

use sandgate_api::token::v1 as pb;
use sandgate_api::token::v1::api_key_service_server::ApiKeyService;
use sandgate_api::{duration_from, timestamp_to};
use sandgate_rpc::{Caller, Fault, Role, page_size};
use sandgate_session::RevocationTarget;
use sandgate_types::{ApiKeyId, Malformed, TenantId, Timestamp, UserId, Violations};
use secrecy::{ExposeSecret as _, SecretString};
use tonic::{Request, Response};

use super::{Handlers, Reply};
use crate::api_key::{Following, Wanted, authenticate, create};
use crate::authority::{Reach, name_of};
use crate::core::Core;
use crate::crash::crash_point;
use crate::error::not_recorded;
use crate::store::{KeyPage, StoredApiKey};

/// Why a key of RevokeApiKey was revoked, which asks for no reason.
const REVOKED: &str = "revoked by its administrator";

#[tonic::async_trait]
impl ApiKeyService for Handlers {
    async fn create_api_key(
        &self,
        request: Request<pb::CreateApiKeyRequest>,
    ) -> Reply<pb::CreateApiKeyResponse> {
        let caller = Caller::of(&request)?;
        let (core, recorder) = self.recorded(&request)?;
        let wanted = wanted_from(request.into_inner()).map_err(Fault::from)?;
        recorder.about(wanted.tenant.as_str(), "");
        let permitted = wanted.permitted(&caller).map_err(Fault::from)?;
        recorder.allowed_and_kept().await.map_err(not_recorded)?;
        crash_point!("api-key-recorded");
        let (id, now) = (ApiKeyId::random(&mut rand::rng()), core.clock.now());
        let fresh = create(&core.store, &core.master, permitted, id, now)
            .await
            .map_err(Fault::from)?;
        crash_point!("api-key-committed");
        Ok(Response::new(pb::CreateApiKeyResponse {
            api_key: Some(key_to(&fresh.kept)),
            secret: fresh.secret.expose_secret().to_owned(),
        }))
    }

    async fn list_api_keys(
        &self,
        request: Request<pb::ListApiKeysRequest>,
    ) -> Reply<pb::ListApiKeysResponse> {
        let caller = Caller::of(&request)?;
        let core = self.core()?;
        let pb::ListApiKeysRequest {
            tenant,
            page_size: size,
            page_token,
        } = request.into_inner();
        let tenant = match (tenant.as_str(), &caller.tenant) {
            ("", Some(own)) => own.clone(),
            (named, _) => TenantId::parse("tenant", named).map_err(Fault::from)?,
        };
        Reach::of(Some(&caller))
            .check(&tenant)
            .map_err(Fault::from)?;
        let size = page_size(size).map_err(Fault::from)?;
        let receiver = format!("{}/api-keys/{tenant}", name_of(Some(&caller)));
        let behind = core
            .pages
            .decode(&receiver, &page_token)
            .map_err(Fault::from)?;
        let behind = behind.as_deref().and_then(page_from);
        let (keys, next) = page(core, &tenant, behind.as_ref(), size).await?;
        Ok(Response::new(pb::ListApiKeysResponse {
            api_keys: keys.iter().map(key_to).collect(),
            next_page_token: next
                .map(|at| core.pages.encode(&receiver, &at))
                .unwrap_or_default(),
        }))
    }

    async fn rotate_api_key(
        &self,
        request: Request<pb::RotateApiKeyRequest>,
    ) -> Reply<pb::RotateApiKeyResponse> {
        let caller = Caller::of(&request)?;
        let (core, recorder) = self.recorded(&request)?;
        let pb::RotateApiKeyRequest {
            api_key_id,
            overlap,
        } = request.into_inner();
        let before = ApiKeyId::parse("api_key_id", &api_key_id).map_err(Fault::from)?;
        let overlap = overlap
            .map(|overlap| duration_from("overlap", &overlap))
            .transpose()
            .map_err(Fault::from)?;
        let overlap = overlap.unwrap_or_default();
        let now = core.clock.now();
        let before = core.store.api_key(before.as_str()).await;
        let before = before.map_err(Fault::from)?;
        if let Some(before) = &before {
            recorder.about(before.tenant.as_str(), "");
        }
        let following = Following::permitted(&caller, before, overlap, now);
        let following = following.map_err(Fault::from)?;
        recorder.allowed_and_kept().await.map_err(not_recorded)?;
        let by = name_of(Some(&caller));
        let (fresh, end) = core
            .follow_api_key(following, by)
            .await
            .map_err(Fault::from)?;
        Ok(Response::new(pb::RotateApiKeyResponse {
            api_key: Some(key_to(&fresh.kept)),
            secret: fresh.secret.expose_secret().to_owned(),
            previous_expires_at: Some(timestamp_to(end)),
        }))
    }

    async fn revoke_api_key(
        &self,
        request: Request<pb::RevokeApiKeyRequest>,
    ) -> Reply<pb::RevokeApiKeyResponse> {
        let caller = Caller::of(&request)?;
        let (core, recorder) = self.recorded(&request)?;
        let pb::RevokeApiKeyRequest { api_key_id } = request.into_inner();
        let id = ApiKeyId::parse("api_key_id", &api_key_id).map_err(Fault::from)?;
        let (by, reach) = (name_of(Some(&caller)), Reach::of(Some(&caller)));
        recorder.allowed_and_kept().await.map_err(not_recorded)?;
        let revoked = core
            .revoke(RevocationTarget::ApiKey(id), REVOKED.to_owned(), by, reach)
            .await
            .map_err(Fault::from)?;
        Ok(Response::new(pb::RevokeApiKeyResponse {
            revoked_at: Some(timestamp_to(revoked.at)),
        }))
    }

    async fn authenticate_api_key(
        &self,
        request: Request<pb::AuthenticateApiKeyRequest>,
    ) -> Reply<pb::AuthenticateApiKeyResponse> {
        let core = self.core()?;
        let pb::AuthenticateApiKeyRequest { secret } = request.into_inner();
        let secret = SecretString::from(secret);
        let now = core.clock.now();
        let key = authenticate(&core.store, &core.master, &secret, now)
            .await
            .map_err(Fault::from)?;
        Ok(Response::new(pb::AuthenticateApiKeyResponse {
            api_key: Some(key_to(&key)),
        }))
    }
}

fn wanted_from(request: pb::CreateApiKeyRequest) -> Result<Wanted, Violations> {
    let pb::CreateApiKeyRequest {
        tenant,
        user,
        roles,
        may_name_users,
        description,
        lifetime,
    } = request;
    let mut violations = Violations::new();
    let tenant = violations.check(TenantId::parse("tenant", &tenant));
    let user = match user.as_str() {
        "" => Some(None),
        user => violations.check(UserId::parse("user", user)).map(Some),
    };
    let role = |(index, number): (usize, i32)| {
        Role::try_from(number)
            .map_err(|_| Malformed::new(format!("roles[{index}]"), "must be a role"))
    };
    let roles: Result<Vec<Role>, _> = roles.into_iter().enumerate().map(role).collect();
    let roles = violations.check(roles);
    let lifetime = lifetime.map(|lifetime| duration_from("lifetime", &lifetime));
    let lifetime = violations.check(lifetime.transpose());
    match (tenant, user, roles, lifetime) {
        (Some(tenant), Some(user), Some(roles), Some(lifetime)) => Ok(Wanted {
            tenant,
            user,
            roles,
            may_name_users,
            description,
            lifetime,
        }),
        _ => Err(violations),
    }
}

async fn page(
    core: &Core,
    tenant: &TenantId,
    behind: Option<&KeyPage>,
    size: usize,
) -> Result<(Vec<StoredApiKey>, Option<Vec<u8>>), Fault> {
    let limit = i64::try_from(size).unwrap_or(i64::MAX).saturating_add(1);
    let mut keys = core.store.api_keys(tenant, behind, limit).await?;
    let more = keys.len() > size;
    keys.truncate(size);
    let next = keys
        .last()
        .filter(|_| more)
        .map(|key| page_to(key.created_at, &key.id));
    Ok((keys, next))
}

fn page_to(created_at: Timestamp, id: &ApiKeyId) -> Vec<u8> {
    [
        &created_at.as_micros().to_be_bytes()[..],
        id.as_str().as_bytes(),
    ]
    .concat()
}

/// Reads what [`page_to`] wrote; the token is signed, so it is never anything else.
fn page_from(bytes: &[u8]) -> Option<KeyPage> {
    let (micros, id) = bytes.split_first_chunk()?;
    let id = ApiKeyId::parse("page_token", std::str::from_utf8(id).ok()?).ok()?;
    Some(KeyPage {
        created_at: Timestamp::from_micros(i64::from_be_bytes(*micros)),
        id,
    })
}

fn key_to(key: &StoredApiKey) -> pb::ApiKey {
    let StoredApiKey {
        id,
        tenant,
        user,
        roles,
        may_name_users,
        description,
        secret_hash: _,
        created_at,
        revoked_at,
        expires_at,
        lifetime: _,
    } = key;
    pb::ApiKey {
        api_key_id: id.as_str().to_owned(),
        tenant: tenant.as_str().to_owned(),
        user: user
            .as_ref()
            .map(|user| user.as_str().to_owned())
            .unwrap_or_default(),
        roles: roles.iter().map(|role| (*role).into()).collect(),
        may_name_users: *may_name_users,
        description: description.clone(),
        created_at: Some(timestamp_to(*created_at)),
        revoked_at: revoked_at.map(timestamp_to),
        expires_at: expires_at.map(timestamp_to),
    }
}
