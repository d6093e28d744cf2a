//! Where the refusals of a server go before they are answered.

use std::fmt::Debug;

use crate::{Caller, Fault, Peer};

/// A call that the method table refuses: who may not call what.
#[derive(Debug, Clone, Copy)]
pub struct Refused<'a> {
    /// The path of the method; `other` when it is none of ours.
    pub method: &'a str,
    /// Who is connected.
    pub peer: &'a Peer,
    /// For whom the gate speaks, if it says so and is the one who may.
    pub caller: Option<&'a Caller>,
}

/// Puts refusals on record.
#[tonic::async_trait]
pub trait Refusals: Debug + Send + Sync {
    /// Records a refusal and answers it, once the record survives the process; or answers that it could not be
    /// recorded.
    async fn refused(&self, refused: Refused<'_>, refusal: Fault) -> Fault;
}
