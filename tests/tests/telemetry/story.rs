//! One conversation on a mesh that is told to tell everything: a client with a trace of its own creates a sandbox and
//! runs an agent, which asks a backend through the gate. Secrets are planted wherever one may be.

mod inside;
mod policy;

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use sandgate_api::audit::v1::audit_service_client::AuditServiceClient;
use sandgate_api::audit::v1::{ListRecordsRequest, Record};
use sandgate_api::orchestrator::v1 as orchestrator;
use sandgate_api::orchestrator::v1::sandbox_service_client::SandboxServiceClient;
use sandgate_e2e::backend::{self, Backend};
use sandgate_e2e::canary::searchable;
use sandgate_e2e::collector::{Collector, Witness};
use sandgate_e2e::mesh::Home;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

/// The client's trace of the create, and of the run.
pub(crate) const CREATE_TRACE: &str = "c0000000000000000000000000000001";
pub(crate) const RUN_TRACE: &str = "a0000000000000000000000000000002";
/// Of a create in a conversation that has files, and of a resume.
pub(crate) const HYDRATE_TRACE: &str = "b0000000000000000000000000000003";
pub(crate) const RESUME_TRACE: &str = "d0000000000000000000000000000004";
/// The client's own span in each.
pub(crate) const CLIENT_SPAN: &str = "00000000000000c1";
/// The conversation; no secret, and known to every part.
pub(crate) const CONVERSATION: &str = "conversation-of-the-telemetry-story";

/// What nobody may be told who has no need of it.
pub(crate) const CREATE_SECRET: &str = "canary-of-the-environment-of-the-create-7f3a";
pub(crate) const PROCESS_SECRET: &str = "canary-of-the-environment-of-a-process-91bc";
pub(crate) const STDIN_SECRET: &str = "canary-of-the-input-of-a-process-2e5d";
pub(crate) const HEADER_SECRET: &str = "canary-of-a-header-of-the-agent-c4f8";
pub(crate) const BODY_SECRET: &str = "canary-of-a-body-of-the-agent-06ad";
pub(crate) const UPSTREAM_SECRET: &str = "canary-of-the-credential-of-an-upstream-b371";
pub(crate) const FILE_SECRET: &str = "canary-of-a-file-of-the-workspace-5d90";

/// The story, as far as it has been told.
pub(crate) struct Story {
    pub(crate) collector: Collector,
    pub(crate) backend: Witness,
    /// The other one, which speaks gRPC.
    pub(crate) scores: Backend,
    pub(crate) home: Home,
    /// The first API key.
    pub(crate) key: String,
    mesh: Child,
    channel: Channel,
}

/// What became of the create.
pub(crate) struct Created {
    pub(crate) sandbox: String,
    /// The name of the request, as the answer says it.
    pub(crate) request: String,
}

impl Story {
    /// A mesh that serves.
    pub(crate) async fn begin() -> Self {
        let (collector, backend) = (Collector::serve().await, Witness::serve().await);
        let scores = backend::grpc().await;
        let home = Home::new();
        let log = File::create(home.path().join("mesh.log")).expect("a log");
        let mut command = home.sandgate(["up", "--listen", "127.0.0.1:0", "--policy"]);
        command.arg(policy::write(&home, &backend, &scores));
        command.args(["--otlp-endpoint", &collector.endpoint]);
        command.env("SANDGATE_LOG", "debug");
        let mut mesh = command
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("start sandgate");
        let mut printed = BufReader::new(mesh.stdout.take().expect("it is piped")).lines();
        let greeted = printed.any(|line| line.expect("a line").contains("Ctrl-C"));
        assert!(greeted, "{}", log_of(&home));
        let published = std::fs::read(home.data().join("mesh.json")).expect("mesh.json");
        let published: serde_json::Value = serde_json::from_slice(&published).expect("JSON");
        let address = published["address"].as_str().expect("an address");
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let key = std::fs::read_to_string(home.api_key()).expect("the API key");
        Self {
            collector,
            backend,
            scores,
            key: key.trim().to_owned(),
            mesh,
            channel: endpoint.connect_lazy(),
            home,
        }
    }

    fn request<T>(&self, message: T, metadata: &[(&'static str, &str)]) -> Request<T> {
        let mut request = Request::new(message);
        let key = format!("Bearer {}", self.key);
        for (name, value) in [("authorization", &*key)].iter().chain(metadata) {
            let value = value.parse().expect("a value");
            request.metadata_mut().insert(*name, value);
        }
        request
    }

    /// Creates the sandbox, in the client's trace.
    pub(crate) async fn create(&self) -> Created {
        self.create_in(CREATE_TRACE).await
    }

    /// Creates the sandbox, in this trace of the client.
    pub(crate) async fn create_in(&self, trace: &str) -> Created {
        let create = orchestrator::CreateSandboxRequest {
            conversation: CONVERSATION.to_owned(),
            environment: of_create(),
            wait: orchestrator::Wait::Ready.into(),
            ..Default::default()
        };
        let create = self.request(create, &[("traceparent", &traceparent(trace))]);
        let mut client = SandboxServiceClient::new(self.channel.clone());
        let answer = client.create_sandbox(create).await.expect("created");
        let request = answer.metadata().get("x-request-id").expect("its name");
        Created {
            request: request.to_str().expect("text").to_owned(),
            sandbox: answer.into_inner().sandbox.expect("a sandbox").sandbox_id,
        }
    }

    /// Deletes the sandbox.
    pub(crate) async fn delete(&self, sandbox: &str) {
        let delete = orchestrator::DeleteSandboxRequest {
            sandbox_id: sandbox.to_owned(),
        };
        let mut client = SandboxServiceClient::new(self.channel.clone());
        let deleted = client.delete_sandbox(self.request(delete, &[])).await;
        deleted.expect("deleted");
    }

    /// Suspends the sandbox.
    pub(crate) async fn suspend(&self, sandbox: &str) {
        let suspend = orchestrator::SuspendSandboxRequest {
            sandbox_id: sandbox.to_owned(),
        };
        let mut client = SandboxServiceClient::new(self.channel.clone());
        let suspended = client.suspend_sandbox(self.request(suspend, &[])).await;
        suspended.expect("suspended");
    }

    /// Resumes the sandbox, in the client's trace.
    pub(crate) async fn resume(&self, sandbox: &str) {
        let resume = orchestrator::ResumeSandboxRequest {
            sandbox_id: sandbox.to_owned(),
            environment: of_create(),
            wait: orchestrator::Wait::Ready.into(),
            ..Default::default()
        };
        let resume = self.request(resume, &[("traceparent", &traceparent(RESUME_TRACE))]);
        let mut client = SandboxServiceClient::new(self.channel.clone());
        client.resume_sandbox(resume).await.expect("resumed");
    }

    /// The answers that describe sandboxes, as bytes of text.
    pub(crate) async fn described(&self, sandbox: &str) -> String {
        let mut client = SandboxServiceClient::new(self.channel.clone());
        let get = orchestrator::GetSandboxRequest {
            sandbox_id: sandbox.to_owned(),
        };
        let got = client.get_sandbox(self.request(get, &[])).await;
        let list = orchestrator::ListSandboxesRequest::default();
        let listed = client.list_sandboxes(self.request(list, &[])).await;
        format!("{:?} {:?}", got.expect("got"), listed.expect("listed"))
    }

    /// The audit records of a sandbox, or of all, once one of them is what `wanted` says.
    pub(crate) async fn records(&self, wanted: impl Fn(&Record) -> bool) -> Vec<Record> {
        let mut client = AuditServiceClient::new(self.channel.clone());
        let listing = async {
            loop {
                let list = ListRecordsRequest {
                    page_size: 1_000,
                    ..Default::default()
                };
                let listed = client.list_records(self.request(list, &[])).await;
                let records = listed.expect("listed").into_inner().records;
                if records.iter().any(&wanted) {
                    return records;
                }
                tokio::task::yield_now().await;
            }
        };
        let limit = std::time::Duration::from_secs(60);
        tokio::time::timeout(limit, listing)
            .await
            .expect("the record")
    }

    /// Ends the mesh; everything that it had to tell is told then.
    pub(crate) fn end(&mut self) {
        let pid = self.mesh.id().to_string();
        let told = Command::new("kill").args(["-INT", &pid]).status();
        assert!(told.expect("kill").success());
        let ended = self.mesh.wait().expect("it is ours");
        assert!(ended.success(), "{ended}: {}", self.log());
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        log_of(&self.home)
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        // A story that failed leaves nothing running; a mesh that is gone already is fine.
        if self.mesh.kill().is_ok() {
            self.mesh.wait().expect("it was ours");
        }
    }
}

fn log_of(home: &Home) -> String {
    searchable(&std::fs::read(home.path().join("mesh.log")).expect("a log"))
}

/// The environment of every process.
fn of_create() -> std::collections::HashMap<String, String> {
    [("OF_CREATE".to_owned(), CREATE_SECRET.to_owned())].into()
}

fn traceparent(trace: &str) -> String {
    format!("00-{trace}-{CLIENT_SPAN}-01")
}
