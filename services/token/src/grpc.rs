//! Proto in, proto out: decode, delegate, encode. The only place that names generated messages.

mod api_key;
mod revocation;
mod signing_key;
mod tenant;
mod token;

use std::sync::Arc;

use sandgate_audit::Recorder;
use sandgate_rpc::{Caller, Fault};
use tonic::{Request, Response, Status};

use crate::core::{Core, Pending};
use crate::error::{not_ready, not_recorded};
use crate::signing::Keyring;

/// What every handler answers.
type Reply<T> = Result<Response<T>, Status>;

/// The handlers of all services of this crate.
#[derive(Clone)]
pub(crate) struct Handlers {
    core: Pending,
}

impl Handlers {
    /// Handlers that answer UNAVAILABLE until the core is there, and once its feed is damaged.
    pub(crate) fn new(core: Pending) -> Self {
        Self { core }
    }

    /// The core, and what records the decision about a request.
    fn recorded<T>(&self, request: &Request<T>) -> Result<(&Arc<Core>, Recorder), Fault> {
        let recorder = Recorder::of(request.extensions()).map_err(not_recorded)?;
        Ok((self.core()?, recorder))
    }

    /// The keys to verify by.
    fn keys(&self) -> Result<Arc<Keyring>, Fault> {
        Ok(self.core()?.keys.current()?)
    }

    /// Nothing is served by revocations that may not be all.
    fn core(&self) -> Result<&Arc<Core>, Fault> {
        let core = self.core.get().filter(|core| core.feed.is_whole());
        core.ok_or_else(not_ready)
    }
}

/// The caller for whom the gate speaks; `None` when a service calls for itself.
fn caller_of<T>(request: &Request<T>) -> Option<Caller> {
    request.extensions().get().cloned()
}
