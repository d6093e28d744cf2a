//! SandboxService.

mod asked;
mod create;
mod page;

use std::sync::Arc;

use sandgate_api::orchestrator::v1 as pb;
use sandgate_api::orchestrator::v1::sandbox_service_server::SandboxService;
use sandgate_rpc::{Caller, Fault, page_size};
use sandgate_types::{ConversationId, Malformed, SandboxId, UserId};
use tonic::{Request, Response};

use self::asked::{apply, started};
use self::create::create_request;
use self::page::{cursor, list_of, position};
use super::watch::{Watching, watching};
use super::{Events, Reply, Services, wire};
use crate::caller::Scope;
use crate::create::CreateError;
use crate::environment::Environment;
use crate::error;
use crate::life::Asked;
use crate::lifecycle::Event;
use crate::records::By;
use crate::resume::ResumeRequest;
use crate::sandbox::{Phase, Reason};
use crate::store::{Cursor, Filter};

/// As records name it.
const CREATE: &str = "sandgate.orchestrator.v1.SandboxService/CreateSandbox";

#[tonic::async_trait]
impl SandboxService for Services {
    async fn create_sandbox(
        &self,
        request: Request<pb::CreateSandboxRequest>,
    ) -> Reply<pb::CreateSandboxResponse> {
        let life = self.life()?;
        let caller = Caller::of(&request)?;
        let scope = Scope::of(&caller).map_err(Fault::from)?;
        let create = create_request(&scope, request.into_inner())?;
        let wait = create.wait;
        let task = Arc::clone(life);
        let created = life
            .tracked(async move { task.create(&scope, create).await })
            .await;
        let (sandbox, created) = match created.map_err(|_| error::ending())? {
            Ok(created) => created,
            Err(refused @ (CreateError::OwnedByAnother | CreateError::Exceeded(_))) => {
                let refusal = error::of_create(refused);
                return Err(self.refused(CREATE, &caller, refusal).await.into());
            }
            Err(error) => return Err(error::of_create(error).into()),
        };
        let sandbox = started(life, &sandbox.facts.id, wait).await?;
        Ok(Response::new(pb::CreateSandboxResponse {
            sandbox: Some(wire::sandbox_to(&sandbox)),
            created,
        }))
    }

    async fn get_sandbox(
        &self,
        request: Request<pb::GetSandboxRequest>,
    ) -> Reply<pb::GetSandboxResponse> {
        let caller = Caller::of(&request)?;
        let scope = Scope::of(&caller).map_err(Fault::from)?;
        let pb::GetSandboxRequest { sandbox_id } = request.into_inner();
        let id = SandboxId::parse("sandbox_id", &sandbox_id).map_err(Fault::from)?;
        let sandbox = self.find("GetSandbox", &caller, &scope, &id).await?;
        Ok(Response::new(pb::GetSandboxResponse {
            sandbox: Some(wire::sandbox_to(&sandbox)),
        }))
    }

    async fn list_sandboxes(
        &self,
        request: Request<pb::ListSandboxesRequest>,
    ) -> Reply<pb::ListSandboxesResponse> {
        let life = self.life()?;
        let scope = Scope::of(&Caller::of(&request)?).map_err(Fault::from)?;
        let pb::ListSandboxesRequest {
            page_size: wished,
            page_token,
            conversation,
            user,
            phases,
            labels,
        } = request.into_inner();
        let limit = page_size(wished).map_err(Fault::from)?;
        let conversation = match conversation.as_str() {
            "" => None,
            text => Some(ConversationId::parse("conversation", text).map_err(Fault::from)?),
        };
        let named = match user.as_str() {
            "" => None,
            text => Some(UserId::parse("user", text).map_err(Fault::from)?),
        };
        let phases: Result<Vec<Phase>, Malformed> =
            phases.into_iter().map(wire::phase_from).collect();
        // Another user's sandboxes do not exist for a person: the list is empty, as it is for nobody's.
        let foreign = matches!((&scope.user, &named), (Some(own), Some(named)) if own != named);
        let filter = Filter {
            tenant: scope.tenant.clone(),
            user: scope.user.clone().or(named),
            conversation,
            phases: phases.map_err(Fault::from)?,
            labels: wire::labels_from(labels).map_err(Fault::from)?,
        };
        let list = list_of(&scope, &filter);
        let after = self.pages.decode(&list, &page_token).map_err(Fault::from)?;
        let after = after
            .map(|bytes| cursor(&bytes))
            .transpose()
            .map_err(Fault::from)?;
        let mut rows = if foreign {
            Vec::new()
        } else {
            life.store
                .list(&filter, after.as_ref(), limit + 1)
                .await
                .map_err(Fault::from)?
        };
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|last| Cursor {
            created_at: last.facts.created_at,
            sandbox: last.facts.id.clone(),
        });
        let next_page_token = next
            .map(|next| self.pages.encode(&list, &position(&next)))
            .unwrap_or_default();
        let sandboxes = rows
            .into_iter()
            .map(|row| wire::sandbox_to(&life.overlay(row)))
            .collect();
        Ok(Response::new(pb::ListSandboxesResponse {
            sandboxes,
            next_page_token,
        }))
    }

    type WatchSandboxStream = Events<pb::WatchSandboxResponse>;

    async fn watch_sandbox(
        &self,
        request: Request<pb::WatchSandboxRequest>,
    ) -> Reply<Self::WatchSandboxStream> {
        let life = Arc::clone(self.life()?);
        let caller = Caller::of(&request)?;
        let scope = Scope::of(&caller).map_err(Fault::from)?;
        let pb::WatchSandboxRequest { sandbox_id } = request.into_inner();
        let id = SandboxId::parse("sandbox_id", &sandbox_id).map_err(Fault::from)?;
        let cell = life.hub.cell(&id);
        // Before the row is read, so that no change falls between.
        let changes = cell.changes();
        let first = self.find("WatchSandbox", &caller, &scope, &id).await?;
        let shutdown = self.shutdown.clone();
        let stream = watching(Watching {
            life,
            id,
            _cell: cell,
            changes,
            next: Some(first),
            seen: i64::MIN,
            shutdown,
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn extend_sandbox(
        &self,
        request: Request<pb::ExtendSandboxRequest>,
    ) -> Reply<pb::ExtendSandboxResponse> {
        let life = self.life()?;
        let caller = Caller::of(&request)?;
        let scope = Scope::of(&caller).map_err(Fault::from)?;
        let pb::ExtendSandboxRequest { sandbox_id, ttl } = request.into_inner();
        let id = SandboxId::parse("sandbox_id", &sandbox_id).map_err(Fault::from)?;
        let ttl = wire::ttl_from(ttl)
            .and_then(|ttl| ttl.ok_or_else(|| Malformed::new("ttl", "must be set")))
            .map_err(Fault::from)?;
        let sandbox = self.find("ExtendSandbox", &caller, &scope, &id).await?;
        let template = &sandbox.facts.template;
        let configured = life.templates.get(template);
        let most = configured
            .ok_or_else(|| error::template_gone(template))?
            .max_ttl;
        if ttl > most {
            let rule = format!("must be between 1s and {}s", most.as_secs());
            return Err(Fault::from(Malformed::new("ttl", rule)).into());
        }
        let until = life.clock.now().plus(ttl);
        let sandbox = apply(life, &scope, &id, Event::Extend(until)).await?;
        Ok(Response::new(pb::ExtendSandboxResponse {
            sandbox: Some(wire::sandbox_to(&sandbox)),
        }))
    }

    async fn suspend_sandbox(
        &self,
        request: Request<pb::SuspendSandboxRequest>,
    ) -> Reply<pb::SuspendSandboxResponse> {
        let life = self.life()?;
        let caller = Caller::of(&request)?;
        let scope = Scope::of(&caller).map_err(Fault::from)?;
        let pb::SuspendSandboxRequest { sandbox_id } = request.into_inner();
        let id = SandboxId::parse("sandbox_id", &sandbox_id).map_err(Fault::from)?;
        self.find("SuspendSandbox", &caller, &scope, &id).await?;
        let asked = Asked::by(By::Principal(scope.principal.clone()));
        let (task, sandbox) = (Arc::clone(life), id.clone());
        let suspended = life
            .tracked(async move { task.suspend(&sandbox, &asked).await })
            .await;
        suspended
            .map_err(|_| error::ending())?
            .map_err(|error| error::of_suspend(error, &id))?;
        let sandbox = life
            .wait_until(&id, |state| state.phase != Phase::Suspending)
            .await
            .map_err(|error| error::of_apply(error, &id))?;
        Ok(Response::new(pb::SuspendSandboxResponse {
            sandbox: Some(wire::sandbox_to(&sandbox)),
        }))
    }

    async fn resume_sandbox(
        &self,
        request: Request<pb::ResumeSandboxRequest>,
    ) -> Reply<pb::ResumeSandboxResponse> {
        let life = self.life()?;
        let caller = Caller::of(&request)?;
        let scope = Scope::of(&caller).map_err(Fault::from)?;
        let pb::ResumeSandboxRequest {
            sandbox_id,
            wait,
            environment,
            request_id,
        } = request.into_inner();
        let id = SandboxId::parse("sandbox_id", &sandbox_id).map_err(Fault::from)?;
        let wait = wire::wait_from(wait).map_err(Fault::from)?;
        let environment = wire::environment_from(environment).map_err(Fault::from)?;
        let resume = ResumeRequest {
            sandbox: id.clone(),
            environment: Environment::new(environment),
            request: wire::request_from(&request_id).map_err(Fault::from)?,
        };
        self.find("ResumeSandbox", &caller, &scope, &id).await?;
        let task = Arc::clone(life);
        let resumed = life
            .tracked(async move { task.resume(&scope, resume).await })
            .await;
        resumed
            .map_err(|_| error::ending())?
            .map_err(|error| error::of_resume(error, &id))?;
        let sandbox = started(life, &id, wait).await?;
        Ok(Response::new(pb::ResumeSandboxResponse {
            sandbox: Some(wire::sandbox_to(&sandbox)),
        }))
    }

    async fn delete_sandbox(
        &self,
        request: Request<pb::DeleteSandboxRequest>,
    ) -> Reply<pb::DeleteSandboxResponse> {
        let life = self.life()?;
        let caller = Caller::of(&request)?;
        let scope = Scope::of(&caller).map_err(Fault::from)?;
        let pb::DeleteSandboxRequest { sandbox_id } = request.into_inner();
        let id = SandboxId::parse("sandbox_id", &sandbox_id).map_err(Fault::from)?;
        self.find("DeleteSandbox", &caller, &scope, &id).await?;
        apply(life, &scope, &id, Event::Delete(Reason::Requested)).await?;
        let sandbox = life
            .wait_until(&id, |state| state.phase == Phase::Deleted)
            .await
            .map_err(|error| error::of_apply(error, &id))?;
        Ok(Response::new(pb::DeleteSandboxResponse {
            sandbox: Some(wire::sandbox_to(&sandbox)),
        }))
    }
}
