//! Follows the feed of instances; cuts what a change ends.

use std::sync::Arc;
use std::time::Duration;

use sandgate_api::orchestrator::v1 as pb;
use sandgate_api::orchestrator::v1::endpoint_service_client::EndpointServiceClient;
use sandgate_api::orchestrator::v1::watch_endpoints_response::Event as Wire;
use sandgate_rpc::Shutdown;
use sandgate_session::lease::{LEASE, Moment};
use sandgate_types::{
    ConversationId, Generation, InstanceId, Malformed, SandboxId, TenantId, UserId,
};
use tonic::Status;

use crate::endpoints::{Endpoint, Event, Serving};
use crate::gate::Gate;

/// After a stream ended or could not be opened.
const AGAIN: Duration = Duration::from_millis(200);

/// Follows the feed until the shutdown begins.
pub(crate) async fn follow(gate: Arc<Gate>, shutdown: Shutdown) {
    loop {
        let ended = tokio::select! {
            () = shutdown.cancelled() => return,
            ended = follow_once(&gate) => ended,
        };
        match ended {
            Ok(()) => tracing::debug!("the feed of instances ended"),
            Err(status) => tracing::debug!(%status, "the feed of instances was lost"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

async fn follow_once(gate: &Gate) -> Result<(), Status> {
    let mut client = EndpointServiceClient::new(gate.services.orchestrator.clone());
    let request = pb::WatchEndpointsRequest {};
    let mut events = client.watch_endpoints(request).await?.into_inner();
    loop {
        // A stream that is silent for longer than its bound is worth nothing; another may be better.
        let Ok(next) = tokio::time::timeout(LEASE, events.message()).await else {
            return Ok(());
        };
        let Some(message) = next? else {
            return Ok(());
        };
        match event_of(message) {
            Ok(event) => {
                if gate.endpoints.apply(event, Moment::now()) {
                    gate.cut_what_ended();
                }
            }
            Err(malformed) => {
                // An instance that cannot be read is served to nobody; so is the rest, until the feed is right.
                tracing::error!(%malformed, "the feed of instances says what it cannot");
                return Ok(());
            }
        }
    }
}

fn event_of(message: pb::WatchEndpointsResponse) -> Result<Event, Malformed> {
    let event = message
        .event
        .ok_or_else(|| Malformed::new("event", "must be given"))?;
    match event {
        Wire::Begin(pb::EndpointsBegin {}) => Ok(Event::Begin),
        Wire::Synced(pb::EndpointsSynced {}) => Ok(Event::Synced),
        Wire::Heartbeat(pb::EndpointsHeartbeat {}) => Ok(Event::Heartbeat),
        Wire::RemovedInstanceId(id) => {
            InstanceId::parse("removed_instance_id", &id).map(Event::Removed)
        }
        Wire::Endpoint(endpoint) => endpoint_of(endpoint),
    }
}

fn endpoint_of(endpoint: pb::Endpoint) -> Result<Event, Malformed> {
    let state = pb::EndpointState::try_from(endpoint.state);
    let pb::Endpoint {
        instance_id,
        state: _,
        generation,
        sandbox_id,
        tenant,
        user,
        conversation,
        // The keeper checks the session and the ports; the gate needs neither.
        session_id: _,
        ports: _,
    } = endpoint;
    let instance = InstanceId::parse("instance_id", &instance_id)?;
    let serving = || {
        Ok::<_, Malformed>(Serving {
            generation: Generation::parse("generation", generation)?,
            sandbox: SandboxId::parse("sandbox_id", &sandbox_id)?,
            tenant: TenantId::parse("tenant", &tenant)?,
            user: UserId::parse("user", &user)?,
            conversation: ConversationId::parse("conversation", &conversation)?,
        })
    };
    let endpoint = match state {
        Ok(pb::EndpointState::Spare) => Endpoint::Spare,
        Ok(pb::EndpointState::Live) => Endpoint::Live(serving()?),
        Ok(pb::EndpointState::Ending) => Endpoint::Ending(serving()?),
        Ok(pb::EndpointState::Unspecified) | Err(_) => {
            return Err(Malformed::new("state", "must be stated"));
        }
    };
    Ok(Event::Endpoint(instance, endpoint))
}
