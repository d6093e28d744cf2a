//! What a session token says.

use std::time::Duration;

use sandgate_types::{
    ConversationId, Generation, InstanceId, Malformed, PolicyRevision, SandboxId, SessionId,
    TenantId, Timestamp, TokenId, UserId,
};

use crate::fields::Fields;
use crate::jwt::{Content, Json, Kind};
use crate::{Audience, ISSUER, Operations, TokenRefusal};

/// The longest life of a token.
pub const TOKEN_MAX: Duration = Duration::from_secs(3600);
/// The longest session, renewals included.
pub const SESSION_MAX: Duration = Duration::from_secs(24 * 3600);

/// What a session token says. Revocation matches these and never `issued_at`, so a token that was minted
/// while its revocation was on the way is dead on arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The `jti`.
    pub token: TokenId,
    /// For whom it is good.
    pub audience: Audience,
    /// The tenant.
    pub tenant: TenantId,
    /// The user who owns the conversation.
    pub user: UserId,
    /// The conversation.
    pub conversation: ConversationId,
    /// The session.
    pub session: SessionId,
    /// When the session began; unchanged by renewal.
    pub session_start: Timestamp,
    /// When it ends at the latest, renewals included.
    pub session_end: Timestamp,
    /// The sandbox, the `sub`.
    pub sandbox: SandboxId,
    /// The one instance from which the token is good.
    pub instance: InstanceId,
    /// Its generation.
    pub generation: Generation,
    /// What the session's agent may call. Ask [`Claims::may`]: the daemon's token names them for renewal and
    /// allows none of them.
    pub agent_operations: Operations,
    /// The policy under which the session began.
    pub policy_revision: PolicyRevision,
    /// When it was issued, and from when on it is good; whole seconds.
    pub issued_at: Timestamp,
    /// When it expires; whole seconds.
    pub expires_at: Timestamp,
}

impl Claims {
    /// Whether the agent may call `operation` with this token.
    pub fn may(&self, operation: &str) -> bool {
        self.audience == Audience::Agent && self.agent_operations.allow(operation)
    }

    /// Checks the claims against the instance that presents the token.
    ///
    /// # Errors
    /// [`TokenRefusal::InstanceMismatch`] or [`TokenRefusal::GenerationStale`].
    pub fn check_instance(
        &self,
        instance: &InstanceId,
        generation: Generation,
    ) -> Result<(), TokenRefusal> {
        if self.instance != *instance {
            return Err(TokenRefusal::InstanceMismatch);
        }
        if self.generation != generation {
            return Err(TokenRefusal::GenerationStale);
        }
        Ok(())
    }

    pub(crate) fn read(json: &[u8]) -> Result<Self, TokenRefusal> {
        let mut fields = Fields::read(json)?;
        let issuer = fields.text("iss")?;
        let audience = fields.text("aud")?;
        let sandbox = id(SandboxId::parse("sub", &fields.text("sub")?))?;
        let expires_at = seconds(fields.number("exp")?)?;
        let not_before = seconds(fields.number("nbf")?)?;
        let issued_at = seconds(fields.number("iat")?)?;
        let token = id(TokenId::parse("jti", &fields.text("jti")?))?;
        let claims = Self {
            token,
            audience: Audience::parse(&audience).ok_or(TokenRefusal::AudienceMismatch)?,
            tenant: id(TenantId::parse("tenant", &fields.text("tenant")?))?,
            user: id(UserId::parse("user", &fields.text("user")?))?,
            conversation: id(ConversationId::parse(
                "conversation",
                &fields.text("conversation")?,
            ))?,
            session: id(SessionId::parse("session", &fields.text("session")?))?,
            session_start: Timestamp::from_micros(fields.number("session_start_us")?),
            session_end: Timestamp::from_micros(fields.number("session_end_us")?),
            sandbox,
            instance: id(InstanceId::parse("instance", &fields.text("instance")?))?,
            generation: id(Generation::parse(
                "generation",
                fields.number("generation")?,
            ))?,
            agent_operations: id(Operations::parse(
                "agent_operations",
                &fields.list("agent_operations")?,
            ))?,
            policy_revision: PolicyRevision::new(fields.number("policy_revision")?),
            issued_at,
            expires_at,
        };
        fields.end()?;
        if issuer != ISSUER {
            return Err(TokenRefusal::IssuerUnknown);
        }
        if not_before != issued_at
            || expires_at <= issued_at
            || claims.session_end <= claims.session_start
        {
            return Err(TokenRefusal::ClaimMalformed);
        }
        if expires_at.since(issued_at) > TOKEN_MAX
            || claims.session_end.since(claims.session_start) > SESSION_MAX
            || expires_at > claims.session_end
        {
            return Err(TokenRefusal::LifetimeTooLong);
        }
        if claims.to_json().as_bytes() != json {
            return Err(TokenRefusal::NotCanonical);
        }
        Ok(claims)
    }
}

impl Content for Claims {
    const KIND: Kind = Kind::Token;

    fn to_json(&self) -> String {
        Json::new()
            .text("iss", ISSUER)
            .text("aud", self.audience.as_str())
            .text("sub", self.sandbox.as_str())
            .number("exp", self.expires_at.as_seconds())
            .number("nbf", self.issued_at.as_seconds())
            .number("iat", self.issued_at.as_seconds())
            .text("jti", self.token.as_str())
            .text("tenant", self.tenant.as_str())
            .text("user", self.user.as_str())
            .text("conversation", self.conversation.as_str())
            .text("session", self.session.as_str())
            .number("session_start_us", self.session_start.as_micros())
            .number("session_end_us", self.session_end.as_micros())
            .text("instance", self.instance.as_str())
            .number("generation", self.generation.get())
            .list("agent_operations", self.agent_operations.names())
            .number("policy_revision", self.policy_revision.get())
            .end()
    }
}

/// A value that no id of ours has.
pub(crate) fn id<T>(parsed: Result<T, Malformed>) -> Result<T, TokenRefusal> {
    parsed.map_err(|_| TokenRefusal::ClaimMalformed)
}

/// A date of RFC 7519 within the range of our instants.
pub(crate) fn seconds(number: i64) -> Result<Timestamp, TokenRefusal> {
    // The year 9999; beyond it microseconds overflow.
    if (0..=253_402_300_799).contains(&number) {
        Ok(Timestamp::from_seconds(number))
    } else {
        Err(TokenRefusal::ClaimMalformed)
    }
}
