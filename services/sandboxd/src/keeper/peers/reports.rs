//! Reports, to the orchestrator.

use std::time::Duration;

use sandgate_api::orchestrator::v1 as pb;
use sandgate_api::orchestrator::v1::instance_service_client::InstanceServiceClient;
use sandgate_api::orchestrator::v1::report_instance_request::Event as Wire;

use super::PeerError;
use crate::keeper::gate::DaemonChannel;
use crate::keeper::process::How;
use crate::keeper::report::Event;

/// Where reports are heard.
#[derive(Debug)]
pub(crate) struct Reports(InstanceServiceClient<DaemonChannel>);

/// Why a report was not heard.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReportError {
    /// The orchestrator refused.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// There was no answer within the limit.
    #[error("the orchestrator did not answer")]
    Silent,
}

impl Reports {
    /// Reports through `channel`.
    pub(crate) fn new(channel: DaemonChannel) -> Self {
        Self(InstanceServiceClient::new(channel))
    }

    /// Tells once.
    ///
    /// # Errors
    /// [`ReportError`]; it may have been heard all the same.
    pub(crate) async fn tell(&mut self, event: &Event, limit: Duration) -> Result<(), ReportError> {
        let mut request = tonic::Request::new(pb::ReportInstanceRequest {
            event: Some(to_wire(event)),
        });
        request.set_timeout(limit);
        tokio::time::timeout(limit, self.0.report_instance(request))
            .await
            .map_err(|_| ReportError::Silent)?
            .map_err(PeerError::of("the orchestrator"))?;
        Ok(())
    }
}

fn to_wire(event: &Event) -> Wire {
    match event {
        Event::Hydrated { version } => Wire::Hydrated(pb::Hydrated {
            version: version.clone(),
        }),
        Event::HydrateFailed { message } => Wire::HydrateFailed(pb::HydrateFailed {
            message: message.clone(),
        }),
        Event::Synced { version } => Wire::Synced(pb::Synced {
            version: version.clone(),
        }),
        Event::CommandEnded { how, last_output } => {
            let (exit_code, signal) = match *how {
                How::Exited(code) => (Some(code), None),
                How::Signalled(signal) => (None, Some(signal)),
            };
            Wire::CommandEnded(pb::CommandEnded {
                exit_code,
                signal,
                last_output: last_output.clone(),
            })
        }
    }
}
