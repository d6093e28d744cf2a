//! Whether a peer is there.

use std::time::Duration;

use sandgate_rpc::{Channel, code_name};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::request::limited;

/// A peer that needs longer to say that it lives does not.
const PROBE: Duration = Duration::from_secs(3);

/// Asks whether a peer is there.
#[derive(Clone)]
pub(crate) struct Probe {
    name: &'static str,
    health: HealthClient<Channel>,
}

impl Probe {
    pub(super) fn new(name: &'static str, channel: Channel) -> Self {
        let health = HealthClient::new(channel);
        Self { name, health }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Whether the peer answers; that it is not ready itself is its own to say.
    pub(crate) async fn reach(&self) -> Result<(), String> {
        let request = limited(HealthCheckRequest::default(), PROBE);
        match self
            .health
            .clone()
            .check(request)
            .await
            .map_err(|status| status.code())
        {
            Err(code @ (Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled)) => {
                let code = code_name(code);
                Err(format!(
                    "does not answer ({code}); start it, or see where it listens"
                ))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
