//! The ticket that Attach takes once: for one instance, one generation and one session, for 60 s.

use std::time::Duration;

use sandgate_types::{Generation, InstanceId, SandboxId, SessionId, Timestamp, TokenId};

use crate::claims::{id, seconds};
use crate::fields::Fields;
use crate::jwt::{Compact, Content, Json, Kind};
use crate::verifier::check_time;
use crate::{ISSUER, TokenRefusal};

/// How long a ticket is good.
pub const TICKET_MAX: Duration = Duration::from_secs(60);
/// Whom a ticket is for.
const AUDIENCE: &str = "sandgate-attach";

/// What a ticket says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Its id; used once.
    pub ticket: TokenId,
    /// The sandbox.
    pub sandbox: SandboxId,
    /// The session that begins with it.
    pub session: SessionId,
    /// The instance that may be attached with it.
    pub instance: InstanceId,
    /// Its generation.
    pub generation: Generation,
    /// When it was issued; whole seconds.
    pub issued_at: Timestamp,
    /// When it expires; whole seconds.
    pub expires_at: Timestamp,
}

impl Ticket {
    /// Reads a ticket and checks everything but its signature.
    ///
    /// For the keeper alone: it has no keys, and the only other end of its link is the gate, which has
    /// verified the ticket. Everybody else asks [`crate::Verifier::verify_ticket`].
    ///
    /// # Errors
    /// Why it is refused.
    pub fn read_without_verifying_the_signature(
        text: &str,
        now: Timestamp,
    ) -> Result<Self, TokenRefusal> {
        let compact = Compact::read(text, Kind::Ticket)?;
        let ticket = Self::read(&compact.content)?;
        check_time(ticket.issued_at, ticket.expires_at, now)?;
        Ok(ticket)
    }

    /// Checks that the ticket is for this instance.
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
        let ticket = Self {
            ticket: id(TokenId::parse("jti", &fields.text("jti")?))?,
            sandbox,
            session: id(SessionId::parse("session", &fields.text("session")?))?,
            instance: id(InstanceId::parse("instance", &fields.text("instance")?))?,
            generation: id(Generation::parse(
                "generation",
                fields.number("generation")?,
            ))?,
            issued_at,
            expires_at,
        };
        fields.end()?;
        if issuer != ISSUER {
            return Err(TokenRefusal::IssuerUnknown);
        }
        if audience != AUDIENCE {
            return Err(TokenRefusal::AudienceMismatch);
        }
        if not_before != issued_at || expires_at <= issued_at {
            return Err(TokenRefusal::ClaimMalformed);
        }
        if expires_at.since(issued_at) > TICKET_MAX {
            return Err(TokenRefusal::LifetimeTooLong);
        }
        if ticket.to_json().as_bytes() != json {
            return Err(TokenRefusal::NotCanonical);
        }
        Ok(ticket)
    }
}

impl Content for Ticket {
    const KIND: Kind = Kind::Ticket;

    fn to_json(&self) -> String {
        Json::new()
            .text("iss", ISSUER)
            .text("aud", AUDIENCE)
            .text("sub", self.sandbox.as_str())
            .number("exp", self.expires_at.as_seconds())
            .number("nbf", self.issued_at.as_seconds())
            .number("iat", self.issued_at.as_seconds())
            .text("jti", self.ticket.as_str())
            .text("session", self.session.as_str())
            .text("instance", self.instance.as_str())
            .number("generation", self.generation.get())
            .end()
    }
}
