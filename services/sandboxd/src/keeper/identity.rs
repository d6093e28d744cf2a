//! Who this instance is: nothing before Attach, one session after it, nothing new after Drain.
//!
//! The tokens live here and nowhere else. They are never printed, are wiped when they are replaced, and
//! leave only as the `authorization` of a request toward the gate, marked as sensitive so that HTTP/2
//! keeps them out of its tables.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use parking_lot::Mutex;
use sandgate_types::Timestamp;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::gate::DaemonToken;

/// Where the instance is in its life. It only ever moves down this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Nobody's yet.
    Spare,
    /// It serves a session.
    Attached,
    /// It is ending: nothing new starts, the agent's calls are refused, the daemon may still sync.
    Draining,
}

/// A token as it goes into a request.
pub(crate) struct Token(HeaderValue);

/// That a token has bytes that no header may have.
#[derive(Debug, thiserror::Error)]
#[error("the token is not printable ASCII")]
pub(crate) struct NotAToken;

/// The two tokens of a session.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// What the local listener adds.
    pub(crate) agent: Token,
    /// What the keeper's own calls carry.
    pub(crate) daemon: Token,
    /// When both expire.
    pub(crate) expires_at: Timestamp,
}

/// The state that Attach and Drain change.
#[derive(Debug)]
pub(crate) struct Identity {
    phase: watch::Sender<Phase>,
    tokens: Mutex<Option<Tokens>>,
}

// === impl Token ===

impl Token {
    /// Makes a token of a JWT's text, which is wiped when the last request that carries it is gone.
    ///
    /// # Errors
    /// [`NotAToken`], when a header cannot carry it.
    pub(crate) fn new(jwt: String) -> Result<Self, NotAToken> {
        let jwt = Zeroizing::new(jwt);
        let mut value = Zeroizing::new(Vec::with_capacity(b"Bearer ".len() + jwt.len()));
        value.extend_from_slice(b"Bearer ");
        value.extend_from_slice(jwt.as_bytes());
        let mut value =
            HeaderValue::from_maybe_shared(Bytes::from_owner(value)).map_err(|_| NotAToken)?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

// === impl Identity ===

impl Default for Identity {
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Spare),
            tokens: Mutex::new(None),
        }
    }
}

impl Identity {
    /// Where the instance is in its life.
    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Takes the tokens of the session; `false` when there was one before.
    pub(crate) fn attach(&self, tokens: Tokens) -> bool {
        self.phase.send_if_modified(|phase| {
            let first = *phase == Phase::Spare;
            if first {
                *self.tokens.lock() = Some(tokens);
                *phase = Phase::Attached;
            }
            first
        })
    }

    /// Takes a renewed pair.
    pub(crate) fn renew(&self, tokens: Tokens) {
        *self.tokens.lock() = Some(tokens);
    }

    /// Begins to end. Repeating it changes nothing.
    pub(crate) fn drain(&self) {
        self.phase.send_if_modified(|phase| {
            let first = *phase != Phase::Draining;
            *phase = Phase::Draining;
            first
        });
    }

    /// When the tokens expire; `None` before Attach.
    pub(crate) fn expires_at(&self) -> Option<Timestamp> {
        self.tokens.lock().as_ref().map(|tokens| tokens.expires_at)
    }

    /// What a request of the agent carries; only while the instance is attached.
    pub(crate) fn agent_authorization(&self) -> Result<HeaderValue, Phase> {
        match self.phase() {
            Phase::Attached => {
                let tokens = self.tokens.lock();
                tokens
                    .as_ref()
                    .map(|tokens| tokens.agent.0.clone())
                    .ok_or(Phase::Spare)
            }
            phase @ (Phase::Spare | Phase::Draining) => Err(phase),
        }
    }
}

/// [`Identity`] gives the daemon token also while draining: the last sync needs it.
impl DaemonToken for Identity {
    fn authorization(&self) -> Option<HeaderValue> {
        self.tokens
            .lock()
            .as_ref()
            .map(|tokens| tokens.daemon.0.clone())
    }
}

/// Shared by everything that asks.
pub(crate) type SharedIdentity = Arc<Identity>;

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(agent: &str) -> Tokens {
        Tokens {
            agent: Token::new(agent.to_owned()).expect("printable"),
            daemon: Token::new("daemon-canary".to_owned()).expect("printable"),
            expires_at: Timestamp::from_seconds(10),
        }
    }

    #[test]
    fn a_second_attach_changes_nothing() {
        let identity = Identity::default();
        assert!(identity.attach(tokens("first")));
        assert!(!identity.attach(tokens("second")));
        assert_eq!(
            identity.agent_authorization().expect("attached"),
            "Bearer first"
        );
    }

    #[test]
    fn the_agent_token_is_given_only_between_attach_and_drain() {
        let identity = Identity::default();
        assert_eq!(identity.agent_authorization(), Err(Phase::Spare));
        assert!(identity.authorization().is_none());
        identity.attach(tokens("a"));
        identity.drain();
        assert_eq!(identity.agent_authorization(), Err(Phase::Draining));
        assert!(
            identity.authorization().is_some(),
            "the last sync still needs the daemon's"
        );
        assert!(
            !identity.attach(tokens("b")),
            "what ended never serves again"
        );
    }

    #[test]
    fn tokens_are_never_printed() {
        let identity = Identity::default();
        identity.attach(tokens("agent-canary"));
        let printed = format!("{identity:?} {:?}", identity.agent_authorization());
        assert!(!printed.contains("canary"), "{printed}");
    }

    #[test]
    fn a_token_with_a_line_break_is_refused() {
        assert!(Token::new("a\r\nx: y".to_owned()).is_err());
    }
}
