//! EndpointService.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use sandgate_api::orchestrator::v1 as pb;
use sandgate_api::orchestrator::v1::endpoint_service_server::EndpointService;
use sandgate_api::orchestrator::v1::watch_endpoints_response::Event;
use sandgate_api::timestamp_from;
use sandgate_rpc::{Fault, Shutdown};
use sandgate_types::{InstanceId, Malformed, SandboxId};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tonic::{Request, Response, Status};

use super::{Events, Reply, Services};
use crate::feed::{Change, Endpoint};
use crate::life::Life;
use crate::sandbox::Sandbox;

/// As the proto says.
const BATCH_MAX: usize = 1_000;
/// The published interval; a gate that hears nothing for three of them is blind.
const HEARTBEAT: Duration = Duration::from_secs(1);

fn endpoint_to(life: &Life, instance: &InstanceId, endpoint: &Endpoint) -> pb::Endpoint {
    let of = |state: pb::EndpointState, sandbox: &Sandbox| {
        let facts = &sandbox.facts;
        let ports = life
            .templates
            .get(&facts.template)
            .map(|template| template.ports.iter().copied().map(u32::from).collect());
        let session = sandbox.state.run.as_ref().map(|run| run.session.as_str());
        pb::Endpoint {
            instance_id: instance.as_str().to_owned(),
            state: state.into(),
            generation: sandbox.state.generation.get(),
            sandbox_id: facts.id.as_str().to_owned(),
            tenant: facts.tenant.as_str().to_owned(),
            user: facts.user.as_str().to_owned(),
            conversation: facts.conversation.as_str().to_owned(),
            session_id: session.unwrap_or_default().to_owned(),
            ports: ports.unwrap_or_default(),
        }
    };
    match endpoint {
        Endpoint::Spare => pb::Endpoint {
            instance_id: instance.as_str().to_owned(),
            state: pb::EndpointState::Spare.into(),
            ..pb::Endpoint::default()
        },
        Endpoint::Live(sandbox) => of(pb::EndpointState::Live, sandbox),
        Endpoint::Ending(sandbox) => of(pb::EndpointState::Ending, sandbox),
    }
}

fn change_to(life: &Life, (instance, endpoint): &Change) -> Event {
    match endpoint {
        Some(endpoint) => Event::Endpoint(endpoint_to(life, instance, endpoint)),
        None => Event::RemovedInstanceId(instance.as_str().to_owned()),
    }
}

/// One gate that follows.
struct Following {
    life: Arc<Life>,
    waiting: VecDeque<Event>,
    changes: Receiver<Change>,
    heartbeat: tokio::time::Interval,
    shutdown: Shutdown,
}

impl Following {
    fn new(life: Arc<Life>, shutdown: Shutdown) -> Self {
        let (waiting, changes) = whole(&life);
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.reset();
        Self {
            life,
            waiting,
            changes,
            heartbeat,
            shutdown,
        }
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return None,
                change = self.changes.recv() => match change {
                    Ok(change) => return Some(change_to(&self.life, &change)),
                    // It was too far behind to be told one by one.
                    Err(RecvError::Lagged(_)) => {
                        (self.waiting, self.changes) = whole(&self.life);
                    }
                    Err(RecvError::Closed) => return None,
                },
                _ = self.heartbeat.tick() => {
                    return Some(Event::Heartbeat(pb::EndpointsHeartbeat {}));
                }
            }
        }
    }
}

/// All there are, framed, and the changes from then on.
fn whole(life: &Life) -> (VecDeque<Event>, Receiver<Change>) {
    let (all, changes) = life.feed.subscribe();
    let mut events = VecDeque::with_capacity(all.len() + 2);
    events.push_back(Event::Begin(pb::EndpointsBegin {}));
    events.extend(all.iter().map(|change| change_to(life, change)));
    events.push_back(Event::Synced(pb::EndpointsSynced {}));
    (events, changes)
}

#[tonic::async_trait]
impl EndpointService for Services {
    type WatchEndpointsStream = Events<pb::WatchEndpointsResponse>;

    async fn watch_endpoints(
        &self,
        request: Request<pb::WatchEndpointsRequest>,
    ) -> Reply<Self::WatchEndpointsStream> {
        let pb::WatchEndpointsRequest {} = request.into_inner();
        let following = Following::new(Arc::clone(self.life()?), self.gate_end.clone());
        let stream = futures_util::stream::unfold(following, |mut following| async move {
            let event = following.next().await?;
            let item = pb::WatchEndpointsResponse { event: Some(event) };
            Some((Ok::<_, Status>(item), following))
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn report_activity(
        &self,
        request: Request<pb::ReportActivityRequest>,
    ) -> Reply<pb::ReportActivityResponse> {
        let life = self.life()?;
        let pb::ReportActivityRequest { activities } = request.into_inner();
        if activities.len() > BATCH_MAX {
            let rule = format!("must have at most {BATCH_MAX} entries");
            return Err(Fault::from(Malformed::new("activities", rule)).into());
        }
        let mut used = Vec::with_capacity(activities.len());
        for (index, activity) in activities.into_iter().enumerate() {
            let pb::Activity {
                sandbox_id,
                instance_id,
                last_active_at,
            } = activity;
            let within = |malformed: Malformed| {
                Fault::from(malformed.within(&format!("activities[{index}]")))
            };
            let sandbox = SandboxId::parse("sandbox_id", &sandbox_id).map_err(within)?;
            let instance = InstanceId::parse("instance_id", &instance_id).map_err(within)?;
            let at = last_active_at
                .ok_or_else(|| within(Malformed::new("last_active_at", "must be set")))?;
            let at = timestamp_from("last_active_at", &at).map_err(within)?;
            used.push((sandbox, instance, at));
        }
        for (sandbox, instance, at) in used {
            life.active(&sandbox, &instance, at);
        }
        Ok(Response::new(pb::ReportActivityResponse {}))
    }
}
