//! Sessions: what they may do, how they are opened and renewed. Nothing of them is kept.
//!
//! All that a renewal needs is in the daemon token itself, which this service signed. Rights only shrink:
//! a renewal intersects them with what the tenant is granted today.

use std::time::Duration;

use rand::CryptoRng;
use sandgate_session::{
    Audience, Claims, LEEWAY, Operations, RevocationSet, SESSION_MAX, TICKET_MAX, TOKEN_MAX,
    Ticket, TokenRefusal,
};
use sandgate_types::{
    ConversationId, Generation, InstanceId, Malformed, PolicyRevision, SandboxId, SessionId,
    TenantId, Timestamp, TokenId, UserId,
};

use crate::keys::KeysStale;
use crate::signing::Keyring;

/// The shortest session.
const SESSION_MIN: Duration = Duration::from_secs(1);
const _: () = assert!(SESSION_MIN.as_secs() < SESSION_MAX.as_secs());

/// What the orchestrator states about a session that begins.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    /// The session.
    pub session: SessionId,
    /// The tenant.
    pub tenant: TenantId,
    /// The user.
    pub user: UserId,
    /// The conversation.
    pub conversation: ConversationId,
    /// The sandbox.
    pub sandbox: SandboxId,
    /// The instance that was claimed.
    pub instance: InstanceId,
    /// Its generation.
    pub generation: Generation,
    /// What the template allows.
    pub template: Operations,
    /// What the request asked for; `None` is all that template and tenant allow.
    pub requested: Option<Operations>,
    /// The policy.
    pub policy_revision: PolicyRevision,
    /// When the session began.
    pub start: Timestamp,
    /// How long it may last.
    pub max: Duration,
}

/// A pair of tokens, and when both expire.
pub(crate) struct Pair {
    /// The agent's.
    pub agent: String,
    /// The daemon's.
    pub daemon: String,
    /// When both expire.
    pub expires_at: Timestamp,
}

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// A field of the request.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The tenant does not exist.
    #[error("the tenant does not exist")]
    TenantUnknown,
    /// A revocation matches what the tokens would say.
    #[error("the instance, or something that it belongs to, is revoked")]
    Revoked,
    /// The session has reached its maximum.
    #[error("the session has reached its end")]
    Over,
    /// The daemon token of a renewal is refused.
    #[error("the daemon token is refused: {0}")]
    Refused(TokenRefusal),
    /// The daemon token of a renewal is not that of the caller.
    #[error("the daemon token is another one than the caller's")]
    OtherToken,
    /// The keys may not be those that sign now.
    #[error(transparent)]
    Keys(#[from] KeysStale),
    /// The library of cryptography refused.
    #[error("sign a token")]
    Sign(#[from] aws_lc_rs::error::Unspecified),
}

/// Operations of a session: template ∩ grants ∩ request, where no request is all and an empty one is none.
pub(crate) fn operations(
    template: Operations,
    granted: &Operations,
    requested: Option<&Operations>,
) -> Operations {
    let allowed = template.intersect(granted);
    match requested {
        Some(requested) => allowed.intersect(requested),
        None => allowed,
    }
}

/// What minting needs to know beside the request.
pub(crate) struct Mint<'a, R: CryptoRng> {
    /// The keys.
    pub keys: &'a Keyring,
    /// What is revoked.
    pub revoked: &'a RevocationSet,
    /// What the tenant is granted; `None` when it does not exist.
    pub granted: Option<Operations>,
    /// How long tokens live.
    pub lifetime: Duration,
    /// The time.
    pub now: Timestamp,
    /// Ids come from here.
    pub rng: &'a mut R,
}

impl<R: CryptoRng> Mint<'_, R> {
    /// Opens a session: its first pair, and the ticket.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub(crate) fn open(&mut self, opening: Opening) -> Result<(Pair, String), SessionError> {
        if !(SESSION_MIN..=SESSION_MAX).contains(&opening.max) {
            return Err(Malformed::new("session_max", "must be between 1s and 24h").into());
        }
        if opening.start > self.now.plus(LEEWAY) {
            return Err(Malformed::new("session_start", "must not lie in the future").into());
        }
        let granted = self.granted.as_ref().ok_or(SessionError::TenantUnknown)?;
        let allowed = operations(opening.template, granted, opening.requested.as_ref());
        let claims = Claims {
            token: TokenId::random(self.rng),
            audience: Audience::Agent,
            tenant: opening.tenant,
            user: opening.user,
            conversation: opening.conversation,
            session: opening.session,
            session_start: opening.start,
            session_end: opening.start.plus(opening.max),
            sandbox: opening.sandbox,
            instance: opening.instance,
            generation: opening.generation,
            agent_operations: allowed,
            policy_revision: opening.policy_revision,
            issued_at: self.now,
            expires_at: self.now,
        };
        let issued_at = Timestamp::from_seconds(self.now.as_seconds());
        let ticket = Ticket {
            ticket: TokenId::random(self.rng),
            sandbox: claims.sandbox.clone(),
            session: claims.session.clone(),
            instance: claims.instance.clone(),
            generation: claims.generation,
            issued_at,
            expires_at: issued_at.plus(TICKET_MAX),
        };
        let pair = self.pair(claims)?;
        Ok((pair, self.keys.sign(&ticket, self.now)?))
    }

    /// Renews the session of a daemon token that was verified for this caller.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub(crate) fn renew(&mut self, daemon: Claims) -> Result<Pair, SessionError> {
        let granted = self.granted.as_ref().ok_or(SessionError::TenantUnknown)?;
        let agent_operations = daemon.agent_operations.intersect(granted);
        let agent = Claims {
            token: TokenId::random(self.rng),
            audience: Audience::Agent,
            agent_operations,
            ..daemon
        };
        self.pair(agent)
    }

    /// Signs both tokens of a session, whose agent's one `claims` are but for the time, unless either is revoked:
    /// an instance whose agent is revoked is ending.
    fn pair(&mut self, claims: Claims) -> Result<Pair, SessionError> {
        let issued_at = Timestamp::from_seconds(self.now.as_seconds());
        let end = Timestamp::from_seconds(claims.session_end.as_seconds());
        let expires_at = issued_at.plus(self.lifetime.min(TOKEN_MAX)).min(end);
        if expires_at <= issued_at {
            return Err(SessionError::Over);
        }
        let agent = Claims {
            issued_at,
            expires_at,
            ..claims
        };
        let agent_token = self.signed(&agent)?;
        let daemon = Claims {
            token: TokenId::random(self.rng),
            audience: Audience::Daemon,
            ..agent
        };
        Ok(Pair {
            agent: agent_token,
            daemon: self.signed(&daemon)?,
            expires_at,
        })
    }

    fn signed(&self, claims: &Claims) -> Result<String, SessionError> {
        if self.revoked.matches(claims) {
            return Err(SessionError::Revoked);
        }
        Ok(self.keys.sign(claims, self.now)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> Operations {
        Operations::parse("operations", names).expect("valid")
    }

    #[test]
    fn operations_are_what_all_three_allow_and_an_empty_request_gets_none() {
        let (template, granted) = (set(&["a", "b", "c"]), set(&["b", "c", "d"]));
        assert_eq!(
            operations(template.clone(), &granted, None),
            set(&["b", "c"])
        );
        assert_eq!(
            operations(template.clone(), &granted, Some(&set(&["c", "d"]))),
            set(&["c"])
        );
        assert!(operations(template.clone(), &granted, Some(&Operations::none())).is_empty());
        assert!(operations(Operations::none(), &Operations::All, None).is_empty());
        assert_eq!(
            operations(template.clone(), &Operations::All, None),
            template
        );
    }
}
