//! For whom a token is good. The two of a session share no power.

use sandgate_api::token::v1 as pb;
use sandgate_types::Malformed;

/// For whom a token is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Audience {
    /// The agent's requests to upstreams; good for no method of ours unless a route names it.
    Agent,
    /// The keeper's own calls: renew, hydrate, sync, report.
    Daemon,
}

impl Audience {
    /// The `aud` claim.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "sandgate-agent",
            Self::Daemon => "sandgate-daemon",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Agent, Self::Daemon]
            .into_iter()
            .find(|audience| audience.as_str() == text)
    }

    /// Reads an audience from the request field `field`.
    ///
    /// # Errors
    /// The field, when it states none.
    pub fn from_wire(field: &str, wire: i32) -> Result<Self, Malformed> {
        match pb::Audience::try_from(wire) {
            Ok(pb::Audience::Agent) => Ok(Self::Agent),
            Ok(pb::Audience::Daemon) => Ok(Self::Daemon),
            Ok(pb::Audience::Unspecified) | Err(_) => Err(Malformed::new(
                field,
                "must be AUDIENCE_AGENT or AUDIENCE_DAEMON",
            )),
        }
    }

    /// The wire form.
    pub fn to_wire(self) -> pb::Audience {
        match self {
            Self::Agent => pb::Audience::Agent,
            Self::Daemon => pb::Audience::Daemon,
        }
    }
}
