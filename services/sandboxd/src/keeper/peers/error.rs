//! What a peer said instead of an answer.

use sandgate_rpc::code_name;
use tonic::{Code, Status};

/// A peer that refused, or did not answer.
#[derive(Debug, thiserror::Error)]
#[error("{peer} answered {}", code_name(.status.code()))]
pub(crate) struct PeerError {
    peer: &'static str,
    /// What it said, for the log, and for whoever the call was made for.
    #[source]
    status: Box<Status>,
}

/// What can be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Wait: the peer may answer otherwise once it is back.
    Away,
    /// Wait: the peer has too much to do.
    Busy,
    /// Look again: somebody else was faster.
    Overtaken,
    /// Nothing: the peer's own reason tells why.
    Refused,
    /// Nothing: the peer, or we, have made a mistake.
    Broken,
}

impl PeerError {
    pub(super) fn of(peer: &'static str) -> impl FnOnce(Status) -> Self {
        move |status| Self {
            peer,
            status: Box::new(status),
        }
    }

    /// What can be done about it.
    pub(crate) fn trouble(&self) -> Trouble {
        match self.status.code() {
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unavailable
            // A token that is not good now is renewed meanwhile.
            | Code::Unauthenticated => Trouble::Away,
            // With a cause it is the connection's end, which is called so here and not by the peer.
            Code::Internal if std::error::Error::source(&*self.status).is_some() => Trouble::Away,
            Code::ResourceExhausted => Trouble::Busy,
            Code::Aborted => Trouble::Overtaken,
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange => Trouble::Refused,
            Code::Unimplemented | Code::Internal | Code::DataLoss => Trouble::Broken,
        }
    }

    /// What it said, for whoever is told so in its own words.
    pub(crate) fn said(&self) -> &Status {
        &self.status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_connection_is_no_mistake_of_the_peer() {
        let said = |status| PeerError::of("the store")(status).trouble();
        assert_eq!(said(Status::internal("")), Trouble::Broken);
        let mut cut = Status::internal("");
        cut.set_source(std::sync::Arc::new(std::io::Error::other("cut")));
        assert_eq!(said(cut), Trouble::Away);
    }
}
