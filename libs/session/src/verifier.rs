//! Accepts only what our issuer can emit, and cannot emit anything itself.
//!
//! In this order, and the signature last: shape, header, key and its algorithm, each claim, audience, life,
//! signature, time. Revocation, instance and generation are the caller's to check, on every request:
//! [`crate::RevocationSet::matches`], [`Claims::check_instance`].

use std::sync::Arc;
use std::time::Duration;

use sandgate_types::Timestamp;

use crate::jwt::{Compact, Content, Kind};
use crate::keys::{Key, KeySet};
use crate::{Audience, Claims, Ticket, TokenRefusal};

/// How far two wall clocks of the mesh may lie apart.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// A token whose signature was good, and what it covered.
///
/// A cache that holds it remembers no more than that: on each hit ask [`Verified::check`] again, beside what
/// the module says of revocation and instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The key.
    pub kid: String,
    /// What was signed; shared, since each request under a token that is remembered keeps it.
    pub claims: Arc<Claims>,
}

/// Verifies by a set of public keys.
#[derive(Debug)]
pub struct Verifier {
    keys: KeySet,
}

impl Verifier {
    /// A verifier by these keys.
    pub fn new(keys: KeySet) -> Self {
        Self { keys }
    }

    /// The keys.
    pub fn keys(&self) -> &KeySet {
        &self.keys
    }

    /// Verifies a session token for one audience.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn verify(
        &self,
        token: &str,
        audience: Audience,
        now: Timestamp,
    ) -> Result<Verified, TokenRefusal> {
        let compact = Compact::read(token, Kind::Token)?;
        let key = self.key_of::<Claims>(&compact)?;
        let claims = Claims::read(&compact.content)?;
        if claims.audience != audience {
            return Err(TokenRefusal::AudienceMismatch);
        }
        signed_by(key, &compact)?;
        let verified = Verified {
            kid: compact.header.kid,
            claims: Arc::new(claims),
        };
        verified.check(&self.keys, audience, now)?;
        Ok(verified)
    }

    /// Verifies a ticket for Attach.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn verify_ticket(&self, ticket: &str, now: Timestamp) -> Result<Ticket, TokenRefusal> {
        let compact = Compact::read(ticket, Kind::Ticket)?;
        let key = self.key_of::<Ticket>(&compact)?;
        let ticket = Ticket::read(&compact.content)?;
        signed_by(key, &compact)?;
        check_time(ticket.issued_at, ticket.expires_at, now)?;
        Ok(ticket)
    }

    fn key_of<C: Content>(&self, compact: &Compact<'_>) -> Result<&Key, TokenRefusal> {
        let key = self
            .keys
            .get(&compact.header.kid)
            .ok_or(TokenRefusal::KeyUnknown)?;
        compact.header.is_for(key.algorithm, C::KIND)?;
        Ok(key)
    }
}

impl Verified {
    /// Checks what may have changed since the signature was verified: the list of keys, the listener that
    /// asks, the time.
    ///
    /// # Errors
    /// Why it is refused now.
    pub fn check(
        &self,
        keys: &KeySet,
        audience: Audience,
        now: Timestamp,
    ) -> Result<(), TokenRefusal> {
        if !keys.lists(&self.kid) {
            return Err(TokenRefusal::KeyUnknown);
        }
        if self.claims.audience != audience {
            return Err(TokenRefusal::AudienceMismatch);
        }
        check_time(self.claims.issued_at, self.claims.expires_at, now)
    }
}

fn signed_by(key: &Key, compact: &Compact<'_>) -> Result<(), TokenRefusal> {
    if key.verifies(compact.signed, &compact.signature) {
        Ok(())
    } else {
        Err(TokenRefusal::SignatureInvalid)
    }
}

pub(crate) fn check_time(
    not_before: Timestamp,
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<(), TokenRefusal> {
    if not_before > now.plus(LEEWAY) {
        return Err(TokenRefusal::NotYetValid);
    }
    if expires_at.plus(LEEWAY) <= now {
        return Err(TokenRefusal::Expired);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
