//! Calls with a limit, and whom they are for.

use std::time::Duration;

use sandgate_types::InstanceId;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};

use super::PeerError;

/// Names the instance that a call through the gate's mesh listener is for.
const INSTANCE: &str = "x-instance-id";

pub(super) fn limited<T>(message: T, limit: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(limit);
    request
}

pub(super) fn to_instance<T>(
    instance: &InstanceId,
    message: T,
    limit: Duration,
) -> Result<Request<T>, PeerError> {
    let mut request = limited(message, limit);
    let name: MetadataValue<Ascii> = instance
        .as_str()
        .parse()
        .map_err(|_| PeerError::strange(super::KEEPER, "its id is no metadata"))?;
    request.metadata_mut().insert(INSTANCE, name);
    Ok(request)
}
