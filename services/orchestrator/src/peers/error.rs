//! What a peer said instead of an answer.

use sandgate_rpc::code_name;
use tonic::{Code, Status};

use crate::sandbox::sentence;

/// A peer that refused, or did not answer.
#[derive(Debug, thiserror::Error)]
#[error("{peer}: {message}")]
pub(crate) struct PeerError {
    peer: &'static str,
    message: String,
    /// What it said, for the log.
    #[source]
    status: Option<Box<Status>>,
}

impl PeerError {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every code but those two is told as it is"
    )]
    pub(super) fn new(peer: &'static str, status: Status) -> Self {
        let message = match status.code() {
            // Nothing of an INTERNAL is for anybody else to read.
            Code::Internal | Code::Unknown => "failed".to_owned(),
            code => sentence(&format!("{}: {}", code_name(code), status.message())),
        };
        Self {
            peer,
            message,
            status: Some(Box::new(status)),
        }
    }

    /// Whether the peer is only away: it may answer otherwise once it is back.
    pub(crate) fn is_passing(&self) -> bool {
        let code = self.status.as_ref().map(|status| status.code());
        matches!(
            code,
            Some(Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled)
        )
    }

    /// Whether the same call gets the same answer until somebody changes what it is about.
    pub(crate) fn is_final(&self) -> bool {
        let code = self.status.as_ref().map(|status| status.code());
        matches!(
            code,
            Some(Code::FailedPrecondition | Code::InvalidArgument | Code::ResourceExhausted)
        )
    }

    pub(super) fn strange(peer: &'static str, message: &str) -> Self {
        Self {
            peer,
            message: message.to_owned(),
            status: None,
        }
    }
}
