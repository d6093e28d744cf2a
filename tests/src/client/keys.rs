//! What an administrator asks of the token service.

use sandgate_api::options::v1::Role;
use sandgate_api::token::v1 as token;
use sandgate_api::token::v1::api_key_service_client::ApiKeyServiceClient;
use sandgate_api::token::v1::revocation_service_client::RevocationServiceClient;
use sandgate_api::token::v1::token_service_client::TokenServiceClient;
use tonic::Status;

use super::Client;

impl Client {
    /// The API keys of the caller's tenant, newest first.
    ///
    /// # Errors
    /// What the mesh answered.
    pub async fn api_keys(&self) -> Result<Vec<token::ApiKey>, Status> {
        let request = self.request(token::ListApiKeysRequest::default());
        let answer = ApiKeyServiceClient::new(self.channel.clone())
            .list_api_keys(request)
            .await?;
        Ok(answer.into_inner().api_keys)
    }

    /// Makes an operator's API key of a tenant; answers its secret.
    ///
    /// # Errors
    /// What the mesh answered.
    pub async fn create_api_key(&self, tenant: &str, description: &str) -> Result<String, Status> {
        let request = self.request(token::CreateApiKeyRequest {
            tenant: tenant.to_owned(),
            user: "operator".to_owned(),
            roles: vec![Role::Operator.into()],
            may_name_users: false,
            description: description.to_owned(),
            lifetime: None,
        });
        let answer = ApiKeyServiceClient::new(self.channel.clone())
            .create_api_key(request)
            .await?;
        Ok(answer.into_inner().secret)
    }

    /// Revokes every session of a user of the first tenant.
    ///
    /// # Errors
    /// What the mesh answered.
    pub async fn revoke_user(&self, user: &str) -> Result<(), Status> {
        let scope = token::revocation_target::Scope::User(user.to_owned());
        let target = token::RevocationTarget {
            tenant: "default".to_owned(),
            scope: Some(scope),
        };
        let request = self.request(token::RevokeRequest {
            target: Some(target),
            reason: "a story".to_owned(),
        });
        RevocationServiceClient::new(self.channel.clone())
            .revoke(request)
            .await?;
        Ok(())
    }

    /// The public keys of tokens.
    ///
    /// # Errors
    /// What the mesh answered.
    pub async fn jwks(&self) -> Result<Vec<token::JsonWebKey>, Status> {
        let request = self.request(token::GetJwksRequest {});
        let answer = TokenServiceClient::new(self.channel.clone())
            .get_jwks(request)
            .await?;
        Ok(answer.into_inner().keys)
    }
}
