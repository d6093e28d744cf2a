//! The orchestrator's side: a session that begins and ends.

use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_api::sandbox::v1 as pb;
use sandgate_api::sandbox::v1::attach_service_client::AttachServiceClient;
use sandgate_session::{Algorithm, Ticket, jwt};
use sandgate_types::{Generation, InstanceId, TokenId};
use tonic::Status;

use super::Sandbox;

impl Sandbox {
    /// A valid request.
    pub(in crate::tests) fn attachment(&self) -> pb::AttachRequest {
        let expires_at = self.clock.now().plus(Duration::from_secs(3600));
        pb::AttachRequest {
            ticket: self.ticket(&self.instance, Duration::ZERO),
            session_id: self.session.as_str().to_owned(),
            sandbox_id: self.sandbox.as_str().to_owned(),
            generation: 1,
            agent_token: "agent-canary".to_owned(),
            daemon_token: "daemon-canary".to_owned(),
            tokens_expire_at: Some(sandgate_api::timestamp_to(expires_at)),
            environment: [("FROM_SESSION".to_owned(), "yes".to_owned())].into(),
            workspace_version: String::new(),
            chunking_seed: vec![7; 32],
            command: Vec::new(),
            ports: Vec::new(),
            routes: vec!["weather".to_owned()],
        }
    }

    /// A ticket that is `age` old.
    pub(in crate::tests) fn ticket(&self, instance: &InstanceId, age: Duration) -> String {
        let issued_at = self.clock.now().minus(age);
        let issued_at = sandgate_types::Timestamp::from_seconds(issued_at.as_seconds());
        let ticket = Ticket {
            ticket: TokenId::random(&mut StdRng::from_os_rng()),
            sandbox: self.sandbox.clone(),
            session: self.session.clone(),
            instance: instance.clone(),
            generation: Generation::FIRST,
            issued_at,
            expires_at: issued_at.plus(Duration::from_secs(60)),
        };
        let headers = jwt::Headers::new(Algorithm::EdDsa, "k");
        jwt::assemble(jwt::signing_input(&headers, &ticket), &[0; 64])
    }

    pub(in crate::tests) async fn attach(&self, request: pb::AttachRequest) -> Result<(), Status> {
        AttachServiceClient::new(self.orchestrator())
            .attach(request)
            .await
            .map(drop)
    }

    pub(in crate::tests) async fn drain(
        &self,
        grace: Duration,
    ) -> Result<pb::DrainResponse, Status> {
        let request = pb::DrainRequest {
            grace: Some(sandgate_api::duration_to(grace)),
        };
        AttachServiceClient::new(self.orchestrator())
            .drain(request)
            .await
            .map(tonic::Response::into_inner)
    }
}
