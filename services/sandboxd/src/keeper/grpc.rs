//! What the keeper serves on its link to the gate: proto in, proto out.

mod attach;
mod file;
mod port;
mod process;

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use sandgate_rpc::PageToken;
use tonic::{Response, Status};

use super::instance::Instance;

/// The answer of a unary call.
type Reply<T> = Result<Response<T>, Status>;
/// The answers of a streaming one.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// All services of an instance.
#[derive(Debug, Clone)]
pub(crate) struct Services {
    instance: Arc<Instance>,
    pages: PageToken,
}

impl Services {
    /// Serves `instance`; `key` is random, and binds page tokens to this keeper.
    pub(crate) fn new(instance: Arc<Instance>, key: &[u8; 32]) -> Self {
        Self {
            instance,
            pages: PageToken::new(key),
        }
    }
}

/// A stream that the services answer with.
fn answers<T>(
    stream: impl Stream<Item = Result<T, Status>> + Send + 'static,
) -> Response<Answers<T>> {
    Response::new(Box::pin(stream))
}
