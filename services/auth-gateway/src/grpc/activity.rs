//! Reports which sandboxes were used, once a second.

use std::sync::Arc;
use std::time::Duration;

use sandgate_api::orchestrator::v1 as pb;
use sandgate_api::orchestrator::v1::endpoint_service_client::EndpointServiceClient;
use sandgate_api::timestamp_to;
use sandgate_rpc::Shutdown;
use sandgate_session::Audience;

use crate::activity::Used;
use crate::gate::Gate;
use crate::streams::Subject;

/// Idle timeouts are minutes.
const EVERY: Duration = Duration::from_secs(1);

/// Reports until the shutdown begins, and once more then.
pub(crate) async fn report(gate: Arc<Gate>, shutdown: Shutdown) {
    loop {
        let ending = tokio::select! {
            () = shutdown.cancelled() => true,
            () = tokio::time::sleep(EVERY) => false,
        };
        note_what_lasts(&gate);
        report_all(&gate).await;
        if ending {
            return;
        }
    }
}

/// A call that lasts is a use at every moment of it; the daemon's are not.
fn note_what_lasts(gate: &Gate) {
    let now = gate.clock.now();
    gate.streams.each(|subject| match subject {
        Subject::Session { claims, .. } => {
            if claims.audience == Audience::Agent {
                gate.activity.note(&claims.instance, &claims.sandbox, now);
            }
        }
        Subject::Key { target, .. } => {
            if let Some(target) = target {
                gate.activity.note(&target.instance, &target.sandbox, now);
            }
        }
    });
}

async fn report_all(gate: &Gate) {
    loop {
        let batch = gate.activity.take();
        if batch.is_empty() {
            return;
        }
        let activities = batch.iter().map(to_wire).collect();
        let request = pb::ReportActivityRequest { activities };
        let mut client = EndpointServiceClient::new(gate.services.orchestrator.clone());
        if let Err(status) = client.report_activity(request).await {
            tracing::debug!(%status, "activity could not be reported");
            gate.activity.put_back(batch);
            return;
        }
    }
}

fn to_wire(used: &Used) -> pb::Activity {
    pb::Activity {
        sandbox_id: used.sandbox.as_str().to_owned(),
        instance_id: used.instance.as_str().to_owned(),
        last_active_at: Some(timestamp_to(used.at)),
    }
}
