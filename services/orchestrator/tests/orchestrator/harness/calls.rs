//! What an orchestrator under test is asked.

use sandgate_api::audit::v1 as audit;
use sandgate_api::audit::v1::audit_service_client::AuditServiceClient;
use sandgate_api::orchestrator::v1 as pb;
use sandgate_api::orchestrator::v1::endpoint_service_client::EndpointServiceClient;
use sandgate_api::orchestrator::v1::instance_service_client::InstanceServiceClient;
use sandgate_api::orchestrator::v1::quota_service_client::QuotaServiceClient;
use sandgate_api::orchestrator::v1::sandbox_service_client::SandboxServiceClient;
use sandgate_api::orchestrator::v1::template_service_client::TemplateServiceClient;
use sandgate_rpc::{Channel, ChannelOptions, Peer, Service};
use tonic::{Request, Status, Streaming};

use super::asker::by;
use super::{Asker, END, Harness, Run, of, seconds};

impl Harness {
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        by(message, &self.asker.0)
    }

    pub(crate) fn sandboxes(&self) -> SandboxServiceClient<Channel> {
        SandboxServiceClient::new(self.channel.clone())
    }

    pub(crate) fn templates(&self) -> TemplateServiceClient<Channel> {
        TemplateServiceClient::new(self.channel.clone())
    }

    pub(crate) fn endpoints(&self) -> EndpointServiceClient<Channel> {
        EndpointServiceClient::new(self.channel.clone())
    }

    pub(crate) fn audit_as(&self, service: Service) -> AuditServiceClient<Channel> {
        let target = self.pipe.target(Peer::Service(service));
        AuditServiceClient::new(Channel::new(target, ChannelOptions::default()))
    }

    pub(crate) fn audit(&self) -> AuditServiceClient<Channel> {
        AuditServiceClient::new(self.channel.clone())
    }

    pub(crate) fn quotas(&self) -> QuotaServiceClient<Channel> {
        QuotaServiceClient::new(self.channel.clone())
    }

    /// Sets a quota as an administrator.
    pub(crate) async fn set_quota(&self, quota: pb::Quota) -> Result<pb::Quota, Status> {
        let root = self.as_asker(Asker::administrator());
        let request = root.request(pb::SetQuotaRequest { quota: Some(quota) });
        let answer = root.quotas().set_quota(request).await?.into_inner();
        Ok(answer.quota.expect("a quota"))
    }

    /// The quota of a tenant or a user of it, and what is used.
    pub(crate) async fn quota(
        &self,
        tenant: &str,
        user: &str,
    ) -> Result<(pb::Quota, pb::QuotaUsage), Status> {
        let request = self.request(pb::GetQuotaRequest {
            tenant: tenant.to_owned(),
            user: user.to_owned(),
        });
        let answer = self.quotas().get_quota(request).await?.into_inner();
        Ok((answer.quota.expect("a quota"), answer.usage.expect("usage")))
    }

    pub(crate) async fn create(
        &self,
        request: pb::CreateSandboxRequest,
    ) -> Result<pb::CreateSandboxResponse, Status> {
        let answer = self
            .sandboxes()
            .create_sandbox(self.request(request))
            .await?;
        Ok(answer.into_inner())
    }

    /// The sandbox of a create that must succeed.
    pub(crate) async fn created(&self, request: pb::CreateSandboxRequest) -> pb::Sandbox {
        let answer = self.create(request).await.expect("created");
        answer.sandbox.expect("a sandbox")
    }

    pub(crate) async fn ready(&self, conversation: &str) -> pb::Sandbox {
        let sandbox = self.created(of(conversation)).await;
        assert_eq!(sandbox.phase(), pb::Phase::Ready);
        sandbox
    }

    /// A sandbox that is recorded, and whose start nobody has waited for.
    pub(crate) async fn begun(&self, conversation: &str) -> pb::Sandbox {
        let request = pb::CreateSandboxRequest {
            wait: pb::Wait::None.into(),
            ..of(conversation)
        };
        self.created(request).await
    }

    pub(crate) async fn get(&self, sandbox_id: &str) -> Result<pb::Sandbox, Status> {
        let request = pb::GetSandboxRequest {
            sandbox_id: sandbox_id.to_owned(),
        };
        let answer = self.sandboxes().get_sandbox(self.request(request)).await?;
        Ok(answer.into_inner().sandbox.expect("a sandbox"))
    }

    pub(crate) async fn list(
        &self,
        request: pb::ListSandboxesRequest,
    ) -> Result<pb::ListSandboxesResponse, Status> {
        Ok(self
            .sandboxes()
            .list_sandboxes(self.request(request))
            .await?
            .into_inner())
    }

    pub(crate) async fn delete(&self, sandbox_id: &str) -> Result<pb::Sandbox, Status> {
        let request = pb::DeleteSandboxRequest {
            sandbox_id: sandbox_id.to_owned(),
        };
        let answer = self
            .sandboxes()
            .delete_sandbox(self.request(request))
            .await?;
        Ok(answer.into_inner().sandbox.expect("a sandbox"))
    }

    pub(crate) async fn suspend(&self, sandbox_id: &str) -> Result<pb::Sandbox, Status> {
        let request = pb::SuspendSandboxRequest {
            sandbox_id: sandbox_id.to_owned(),
        };
        let answer = self
            .sandboxes()
            .suspend_sandbox(self.request(request))
            .await?;
        Ok(answer.into_inner().sandbox.expect("a sandbox"))
    }

    pub(crate) async fn resume(&self, sandbox_id: &str) -> Result<pb::Sandbox, Status> {
        let request = pb::ResumeSandboxRequest {
            sandbox_id: sandbox_id.to_owned(),
            ..Default::default()
        };
        let answer = self
            .sandboxes()
            .resume_sandbox(self.request(request))
            .await?;
        Ok(answer.into_inner().sandbox.expect("a sandbox"))
    }

    /// Waits until a sandbox is in a phase; the caller's wait is bounded by the test's own.
    pub(crate) async fn until(&self, sandbox_id: &str, phase: pb::Phase) -> pb::Sandbox {
        let there = async {
            loop {
                let sandbox = self.get(sandbox_id).await.expect("readable");
                if sandbox.phase() == phase {
                    return sandbox;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(END, there)
            .await
            .unwrap_or_else(|_| panic!("never {phase:?}"))
    }

    pub(crate) async fn extend(
        &self,
        sandbox_id: &str,
        ttl: Option<i64>,
    ) -> Result<pb::Sandbox, Status> {
        let request = pb::ExtendSandboxRequest {
            sandbox_id: sandbox_id.to_owned(),
            ttl: ttl.map(seconds),
        };
        let answer = self
            .sandboxes()
            .extend_sandbox(self.request(request))
            .await?;
        Ok(answer.into_inner().sandbox.expect("a sandbox"))
    }

    pub(crate) async fn watch(
        &self,
        sandbox_id: &str,
    ) -> Result<Streaming<pb::WatchSandboxResponse>, Status> {
        let request = pb::WatchSandboxRequest {
            sandbox_id: sandbox_id.to_owned(),
        };
        let answer = self
            .sandboxes()
            .watch_sandbox(self.request(request))
            .await?;
        Ok(answer.into_inner())
    }

    pub(crate) async fn list_records(
        &self,
        request: audit::ListRecordsRequest,
    ) -> Result<audit::ListRecordsResponse, Status> {
        let answer = self.audit().list_records(self.request(request)).await?;
        Ok(answer.into_inner())
    }

    /// A keeper says that its files are there.
    pub(crate) async fn hydrated(&self, sandbox: &pb::Sandbox, version: String) {
        let hydrated = pb::report_instance_request::Event::Hydrated(pb::Hydrated { version });
        self.report(&Run::of(sandbox), hydrated)
            .await
            .expect("heard");
    }

    /// What a keeper reports through the gate.
    pub(crate) async fn report(
        &self,
        run: &Run,
        event: pb::report_instance_request::Event,
    ) -> Result<(), Status> {
        let request = pb::ReportInstanceRequest { event: Some(event) };
        let caller = run.caller(&self.asker.0);
        InstanceServiceClient::new(self.channel.clone())
            .report_instance(by(request, &caller))
            .await?;
        Ok(())
    }
}
