//! Proto in, proto out: the only part that names generated messages.

mod decode;
mod file;
mod sync;
mod workspace;

use std::sync::{Arc, OnceLock};

use futures_util::stream::BoxStream;
use sandgate_audit::Recorder;
use sandgate_rpc::Fault;
use tonic::{Request, Response, Status};

use crate::error::{not_ready, not_recorded};
use crate::storage::Storage;

pub(crate) use sync::Sync;
pub(crate) use workspace::Workspaces;

/// The most bytes of a message that carries content.
const DATA_MAX_BYTES: usize = 1024 * 1024;

type Reply<T> = Result<Response<T>, Status>;
type Streaming<T> = BoxStream<'static, Result<T, Status>>;

/// The storage, once its database was found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Late(Arc<OnceLock<Arc<Storage>>>);

/// What records the decision about a request.
fn recorder<T>(request: &Request<T>) -> Result<Recorder, Fault> {
    Recorder::of(request.extensions()).map_err(not_recorded)
}

impl Late {
    /// It was found.
    pub(crate) fn found(&self, storage: Arc<Storage>) {
        // A second one could only be the same: one task looks for it.
        let _first = self.0.set(storage);
    }

    fn get(&self) -> Result<Arc<Storage>, Fault> {
        self.0.get().cloned().ok_or_else(not_ready)
    }
}
