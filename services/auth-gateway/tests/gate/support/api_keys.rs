//! The API keys that the tests' token service knows.

use sandgate_api::token::v1 as pb;
use sandgate_api::token::v1::api_key_service_server::ApiKeyService;
use sandgate_rpc::Role;
use tonic::{Request, Response, Status};

use super::token::Token;

/// The API keys that it knows: secret, public id, tenant, user, roles.
pub(crate) const KEY: &str = "sgk_acme";
pub(crate) const KEY_ID: &str = "kaaaaaaaaaaaaaaaaaaaaaaaaa";
pub(crate) const ANN: &str = "sgk_ann";
pub(crate) const OTHER: &str = "sgk_other";
pub(crate) const POWERLESS: &str = "sgk_powerless";
pub(crate) const OPERATOR: &str = "sgk_operator";

#[tonic::async_trait]
impl ApiKeyService for Token {
    async fn create_api_key(
        &self,
        _request: Request<pb::CreateApiKeyRequest>,
    ) -> Result<Response<pb::CreateApiKeyResponse>, Status> {
        (self.0.on_create.lock())();
        Ok(Response::new(pb::CreateApiKeyResponse::default()))
    }

    async fn list_api_keys(
        &self,
        _request: Request<pb::ListApiKeysRequest>,
    ) -> Result<Response<pb::ListApiKeysResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn rotate_api_key(
        &self,
        _request: Request<pb::RotateApiKeyRequest>,
    ) -> Result<Response<pb::RotateApiKeyResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn revoke_api_key(
        &self,
        _request: Request<pb::RevokeApiKeyRequest>,
    ) -> Result<Response<pb::RevokeApiKeyResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn authenticate_api_key(
        &self,
        request: Request<pb::AuthenticateApiKeyRequest>,
    ) -> Result<Response<pb::AuthenticateApiKeyResponse>, Status> {
        *self.0.lookups.lock() += 1;
        let secret = request.into_inner().secret;
        let (id, tenant, user, roles) = match secret.as_str() {
            KEY => (KEY_ID, "acme", "", vec![Role::Caller]),
            ANN => (
                "kbbbbbbbbbbbbbbbbbbbbbbbbb",
                "acme",
                "ann",
                vec![Role::Caller],
            ),
            OTHER => (
                "kccccccccccccccccccccccccc",
                "other",
                "",
                vec![Role::Caller],
            ),
            OPERATOR => (
                "keeeeeeeeeeeeeeeeeeeeeeeee",
                "acme",
                "",
                vec![Role::Operator],
            ),
            POWERLESS => ("kddddddddddddddddddddddddd", "acme", "", vec![Role::Daemon]),
            _ => return Err(Status::unauthenticated("no")),
        };
        let api_key = pb::ApiKey {
            api_key_id: id.to_owned(),
            tenant: tenant.to_owned(),
            user: user.to_owned(),
            roles: roles.into_iter().map(Into::into).collect(),
            ..pb::ApiKey::default()
        };
        Ok(Response::new(pb::AuthenticateApiKeyResponse {
            api_key: Some(api_key),
        }))
    }
}
