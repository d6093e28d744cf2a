//! InstanceService: what keepers report. A keeper is heard about its own, current run only.

use std::sync::Arc;

use sandgate_api::orchestrator::v1 as pb;
use sandgate_api::orchestrator::v1::instance_service_server::InstanceService;
use sandgate_api::orchestrator::v1::report_instance_request::Event as Report;
use sandgate_rpc::{Caller, Fault};
use sandgate_types::{Malformed, VersionId};
use tonic::{Request, Response};

use super::{Reply, Services};
use crate::caller;
use crate::error;
use crate::life::{ApplyError, Asked};
use crate::lifecycle::{Event, Refusal};
use crate::records::By;
use crate::sandbox::{LAST_OUTPUT_MAX_BYTES, MESSAGE_MAX_BYTES};

fn event_from(report: Option<Report>) -> Result<Event, Malformed> {
    let report = report.ok_or_else(|| Malformed::new("event", "must be set"))?;
    match report {
        Report::Hydrated(pb::Hydrated { version }) if version.is_empty() => {
            Ok(Event::Hydrated(None))
        }
        Report::Hydrated(pb::Hydrated { version }) => Ok(Event::Hydrated(Some(VersionId::parse(
            "hydrated.version",
            &version,
        )?))),
        Report::HydrateFailed(pb::HydrateFailed { message }) => {
            if message.len() > MESSAGE_MAX_BYTES {
                let rule = format!("must have at most {MESSAGE_MAX_BYTES} bytes");
                return Err(Malformed::new("hydrate_failed.message", rule));
            }
            Ok(Event::HydrateFailed(message))
        }
        Report::Synced(pb::Synced { version }) => {
            Ok(Event::Synced(VersionId::parse("synced.version", &version)?))
        }
        Report::CommandEnded(pb::CommandEnded {
            exit_code,
            signal,
            last_output,
        }) => {
            if last_output.len() > LAST_OUTPUT_MAX_BYTES {
                let rule = format!("must have at most {LAST_OUTPUT_MAX_BYTES} bytes");
                return Err(Malformed::new("command_ended.last_output", rule));
            }
            Ok(Event::CommandEnded {
                exit_code,
                signal,
                last_output,
            })
        }
    }
}

#[tonic::async_trait]
impl InstanceService for Services {
    async fn report_instance(
        &self,
        request: Request<pb::ReportInstanceRequest>,
    ) -> Reply<pb::ReportInstanceResponse> {
        let life = self.life()?;
        let caller = Caller::of(&request)?;
        let session = caller::session(&caller).map_err(Fault::from)?;
        let pb::ReportInstanceRequest { event } = request.into_inner();
        let event = event_from(event).map_err(Fault::from)?;
        let id = session.sandbox.clone();
        let task = Arc::clone(life);
        let reported = life.tracked(async move {
            let asked = Asked::by(By::caller(&caller));
            task.apply_asked(&session.sandbox, event, &asked, |sandbox| {
                sandbox.is_current(&session.instance, session.generation)
            })
            .await
        });
        match reported.await.and_then(|reported| reported) {
            Ok(_) => Ok(Response::new(pb::ReportInstanceResponse {})),
            // Another run's sandbox is none of the reporter's business, known or not.
            Err(ApplyError::Unknown | ApplyError::Other | ApplyError::Refused(Refusal::Late)) => {
                Err(error::not_current().into())
            }
            Err(error) => Err(error::of_apply(error, &id).into()),
        }
    }
}
