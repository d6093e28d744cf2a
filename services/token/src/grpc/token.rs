//! TokenService.

use std::sync::Arc;

use sandgate_api::token::v1 as pb;
use sandgate_api::token::v1::token_service_server::TokenService;
use sandgate_api::{duration_from, timestamp_from, timestamp_to};
use sandgate_rpc::{Caller, Fault, Principal, SessionCaller};
use sandgate_session::{Audience, Claims, Operations, SESSION_TOKEN_METADATA, TokenRefusal};
use sandgate_types::{
    ConversationId, Generation, InstanceId, Malformed, PolicyRevision, SandboxId, SessionId,
    TenantId, UserId, Violations,
};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response};

use super::{Handlers, Reply, caller_of};
use crate::authority::Reach;
use crate::core::Core;
use crate::crash::crash_point;
use crate::error::{not_recorded, session_token_missing};
use crate::session::{Opening, Pair, SessionError};
use crate::signing::Keyring;

#[tonic::async_trait]
impl TokenService for Handlers {
    async fn mint_session(
        &self,
        request: Request<pb::MintSessionRequest>,
    ) -> Reply<pb::MintSessionResponse> {
        let (core, recorder) = self.recorded(&request)?;
        let opening = opening_from(request.into_inner()).map_err(Fault::from)?;
        recorder.about(opening.tenant.as_str(), opening.sandbox.as_str());
        crash_point!("mint-decided");
        let (pair, ticket) = core.open_session(opening).map_err(Fault::from)?;
        recorder.allowed().map_err(not_recorded)?;
        crash_point!("mint-signed");
        Ok(Response::new(pb::MintSessionResponse {
            tokens: Some(pair_to(pair)),
            ticket,
        }))
    }

    async fn renew_session(
        &self,
        request: Request<pb::RenewSessionRequest>,
    ) -> Reply<pb::RenewSessionResponse> {
        let caller = Caller::of(&request)?;
        let (core, recorder) = self.recorded(&request)?;
        let token = session_token(request.metadata()).ok_or_else(session_token_missing)?;
        let pair = renew(core, &caller, token).map_err(Fault::from)?;
        recorder.allowed().map_err(not_recorded)?;
        let pb::RenewSessionRequest {} = request.into_inner();
        Ok(Response::new(pb::RenewSessionResponse {
            tokens: Some(pair_to(pair)),
        }))
    }

    async fn validate_token(
        &self,
        request: Request<pb::ValidateTokenRequest>,
    ) -> Reply<pb::ValidateTokenResponse> {
        let reach = Reach::of(caller_of(&request).as_ref());
        let pb::ValidateTokenRequest { token, audience } = request.into_inner();
        let audience = Audience::from_wire("audience", audience).map_err(Fault::from)?;
        Ok(Response::new(
            match validate(self.core()?, &*self.keys()?, &token, audience, &reach) {
                Ok(claims) => pb::ValidateTokenResponse {
                    claims: Some(claims_to(&claims)),
                    refusal: String::new(),
                },
                Err(refusal) => pb::ValidateTokenResponse {
                    claims: None,
                    refusal: refusal.as_str().to_owned(),
                },
            },
        ))
    }

    async fn get_jwks(&self, request: Request<pb::GetJwksRequest>) -> Reply<pb::GetJwksResponse> {
        let pb::GetJwksRequest {} = request.into_inner();
        Ok(Response::new(pb::GetJwksResponse {
            keys: self.keys()?.jwks().to_vec(),
        }))
    }
}

/// Renews by the daemon token itself, which has to be that of the caller whom the gate states.
fn renew(core: &Core, caller: &Caller, token: &str) -> Result<Pair, SessionError> {
    let claims = core
        .keys
        .current()?
        .verifier()
        .verify(token, Audience::Daemon, core.clock.now())
        .map_err(SessionError::Refused)?
        .claims;
    if !is_session_of(&claims, caller) {
        return Err(SessionError::OtherToken);
    }
    core.renew_session(Arc::unwrap_or_clone(claims))
}

fn is_session_of(claims: &Claims, caller: &Caller) -> bool {
    let Principal::Session(SessionCaller {
        session,
        sandbox,
        instance,
        generation,
        conversation,
        token,
    }) = &caller.principal
    else {
        return false;
    };
    claims.session == *session
        && claims.sandbox == *sandbox
        && claims.instance == *instance
        && claims.generation == *generation
        && claims.conversation == *conversation
        && claims.token == *token
        && caller.tenant.as_ref() == Some(&claims.tenant)
        && caller.user.as_ref() == Some(&claims.user)
}

fn validate(
    core: &Core,
    keys: &Keyring,
    token: &str,
    audience: Audience,
    reach: &Reach,
) -> Result<Claims, TokenRefusal> {
    let claims = keys
        .verifier()
        .verify(token, audience, core.clock.now())?
        .claims;
    if !reach.covers(&claims.tenant) {
        // Another tenant's token looks like one that nobody signed.
        return Err(TokenRefusal::SignatureInvalid);
    }
    if core.feed.revoked().matches(&claims) {
        Err(TokenRefusal::Revoked)
    } else {
        Ok(Arc::unwrap_or_clone(claims))
    }
}

fn session_token(metadata: &MetadataMap) -> Option<&str> {
    let mut entries = metadata.get_all(SESSION_TOKEN_METADATA).iter();
    match (entries.next(), entries.next()) {
        (Some(token), None) => token.to_str().ok(),
        (None, _) | (Some(_), Some(_)) => None,
    }
}

fn opening_from(request: pb::MintSessionRequest) -> Result<Opening, Violations> {
    let pb::MintSessionRequest {
        session_id,
        tenant,
        user,
        conversation,
        sandbox_id,
        instance_id,
        generation,
        template_operations,
        requested_operations,
        policy_revision,
        session_start,
        session_max,
    } = request;
    let mut violations = Violations::new();
    let session = violations.check(SessionId::parse("session_id", &session_id));
    let tenant = violations.check(TenantId::parse("tenant", &tenant));
    let user = violations.check(UserId::parse("user", &user));
    let conversation = violations.check(ConversationId::parse("conversation", &conversation));
    let sandbox = violations.check(SandboxId::parse("sandbox_id", &sandbox_id));
    let instance = violations.check(InstanceId::parse("instance_id", &instance_id));
    let generation = violations.check(Generation::parse("generation", generation));
    let template = violations.check(Operations::parse(
        "template_operations",
        &template_operations,
    ));
    let requested = requested_operations
        .map(|operations| Operations::parse("requested_operations.names", &operations.names))
        .transpose();
    let requested = violations.check(requested);
    let required = |field: &'static str| Malformed::new(field, "must be set");
    let policy = violations.check(PolicyRevision::parse("policy_revision", policy_revision));
    let start = session_start
        .ok_or_else(|| required("session_start"))
        .and_then(|at| timestamp_from("session_start", &at));
    let start = violations.check(start);
    let max = session_max
        .ok_or_else(|| required("session_max"))
        .and_then(|duration| duration_from("session_max", &duration));
    let max = violations.check(max);
    let opening = (|| {
        Some(Opening {
            session: session?,
            tenant: tenant?,
            user: user?,
            conversation: conversation?,
            sandbox: sandbox?,
            instance: instance?,
            generation: generation?,
            template: template?,
            requested: requested?,
            policy_revision: policy?,
            start: start?,
            max: max?,
        })
    })();
    opening.ok_or(violations)
}

fn pair_to(pair: Pair) -> pb::TokenPair {
    let Pair {
        agent,
        daemon,
        expires_at,
    } = pair;
    pb::TokenPair {
        agent_token: agent,
        daemon_token: daemon,
        expires_at: Some(timestamp_to(expires_at)),
    }
}

fn claims_to(claims: &Claims) -> pb::Claims {
    let operations = match claims.audience {
        Audience::Agent => claims.agent_operations.to_list(),
        Audience::Daemon => Vec::new(),
    };
    pb::Claims {
        token_id: claims.token.as_str().to_owned(),
        audience: claims.audience.to_wire().into(),
        tenant: claims.tenant.as_str().to_owned(),
        user: claims.user.as_str().to_owned(),
        conversation: claims.conversation.as_str().to_owned(),
        session_id: claims.session.as_str().to_owned(),
        sandbox_id: claims.sandbox.as_str().to_owned(),
        instance_id: claims.instance.as_str().to_owned(),
        generation: claims.generation.get(),
        operations,
        expires_at: Some(timestamp_to(claims.expires_at)),
    }
}
