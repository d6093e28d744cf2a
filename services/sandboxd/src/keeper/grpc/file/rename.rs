//! A move, whose refusal names the one of its two paths that is the cause.

use tonic::Status;

use crate::keeper::error::{refused_in, status};
use crate::keeper::grpc::Services;

impl Services {
    /// Moves what is at `source`.
    pub(super) async fn rename(
        &self,
        source: Vec<u8>,
        target: Vec<u8>,
        replace: bool,
    ) -> Result<(), Status> {
        let runner = &self.instance.runner;
        let moved = runner.rename(source.clone(), target, replace).await;
        let Err(error) = moved else { return Ok(()) };
        // The runner tells why, and not of which path.
        let field = match runner.stat(source).await {
            Ok(_) => "target",
            Err(_) => "source",
        };
        Err(status(refused_in(field, error)))
    }
}
