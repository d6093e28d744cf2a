//! One conversation on a mesh that is told to tell everything: a client with a trace of its own creates a sandbox and
//! runs an agent, which asks a backend through the gate. Secrets are planted wherever one may be.

use std::fs::{File, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};

use sandgate_api::audit::v1::audit_service_client::AuditServiceClient;
use sandgate_api::audit::v1::{ListRecordsRequest, Record};
use sandgate_api::orchestrator::v1 as orchestrator;
use sandgate_api::orchestrator::v1::sandbox_service_client::SandboxServiceClient;
use sandgate_api::sandbox::v1 as sandbox;
use sandgate_api::sandbox::v1::file_service_client::FileServiceClient;
use sandgate_api::sandbox::v1::process_event::Event;
use sandgate_api::sandbox::v1::process_service_client::ProcessServiceClient;
use sandgate_api::sandbox::v1::write_file_request::Part;
use sandgate_e2e::canary::searchable;
use sandgate_e2e::collector::{Collector, Witness};
use sandgate_e2e::mesh::Home;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

/// The client's trace of the create, and of the run.
pub(crate) const CREATE_TRACE: &str = "c0000000000000000000000000000001";
pub(crate) const RUN_TRACE: &str = "a0000000000000000000000000000002";
/// The client's own span in either.
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

/// An agent that goes on in the trace that it was started in, and says what it was given.
const AGENT: &str = "
import os, sys, urllib.request
environ = os.environ
headers = {'traceparent': environ['TRACEPARENT'], 'x-note': environ['HEADER'], 'content-type': 'text/plain'}
url = environ['SANDGATE_URL_NOTES'] + '/note'
asked = urllib.request.Request(url, data=environ['BODY'].encode(), headers=headers)
print(urllib.request.urlopen(asked, timeout=60).read().decode().strip())
for given in [environ['TRACEPARENT'], environ['OF_CREATE'], environ['OF_PROCESS'], sys.stdin.read()]:
    print(given)
";

/// The story, as far as it has been told.
pub(crate) struct Story {
    pub(crate) collector: Collector,
    pub(crate) backend: Witness,
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
        let home = Home::new();
        let log = File::create(home.path().join("mesh.log")).expect("a log");
        let mut command = home.sandgate(["up", "--listen", "127.0.0.1:0", "--policy"]);
        command.arg(policy(&home, &backend));
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
        let create = orchestrator::CreateSandboxRequest {
            conversation: CONVERSATION.to_owned(),
            environment: [("OF_CREATE".to_owned(), CREATE_SECRET.to_owned())].into(),
            wait: orchestrator::Wait::Ready.into(),
            ..Default::default()
        };
        let create = self.request(create, &[("traceparent", &traceparent(CREATE_TRACE))]);
        let mut client = SandboxServiceClient::new(self.channel.clone());
        let answer = client.create_sandbox(create).await.expect("created");
        let request = answer.metadata().get("x-request-id").expect("its name");
        Created {
            request: request.to_str().expect("text").to_owned(),
            sandbox: answer.into_inner().sandbox.expect("a sandbox").sandbox_id,
        }
    }

    /// Runs the agent, in the client's trace. Answers the trace that it was given.
    pub(crate) async fn run(&self, sandbox: &str) -> String {
        let environment = [
            ("OF_PROCESS", PROCESS_SECRET),
            ("HEADER", HEADER_SECRET),
            ("BODY", BODY_SECRET),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let stdin = STDIN_SECRET.as_bytes().to_vec();
        let printed = self
            .process(sandbox, AGENT, environment.into(), stdin)
            .await;
        let lines: Vec<&str> = printed.lines().collect();
        let [noted, trace, create, process, input] = lines.as_slice() else {
            panic!("{printed}")
        };
        // Each secret was where it belongs.
        assert_eq!(*noted, "noted");
        assert_eq!(
            [*create, *process, *input],
            [CREATE_SECRET, PROCESS_SECRET, STDIN_SECRET]
        );
        (*trace).to_owned()
    }

    /// Runs a program in Python to its end; answers what it printed.
    pub(crate) async fn process(
        &self,
        sandbox: &str,
        program: &str,
        environment: std::collections::HashMap<String, String>,
        stdin: Vec<u8>,
    ) -> String {
        let run = sandbox::RunProcessRequest {
            argv: ["/usr/bin/python3", "-c", program]
                .map(str::to_owned)
                .into(),
            environment,
            stdin,
            ..Default::default()
        };
        let parent = traceparent(RUN_TRACE);
        let run = self.request(run, &[("x-sandbox-id", sandbox), ("traceparent", &parent)]);
        let mut client = ProcessServiceClient::new(self.channel.clone());
        let mut events = client.run_process(run).await.expect("run").into_inner();
        let mut printed = Vec::new();
        while let Some(event) = events.message().await.expect("an event") {
            match event.event.and_then(|event| event.event) {
                Some(Event::Stdout(output) | Event::Stderr(output)) => printed.extend(output.data),
                Some(Event::Started(_) | Event::Ended(_)) | None => {}
            }
        }
        searchable(&printed)
    }

    /// Writes a file and has it stored.
    pub(crate) async fn write(&self, sandbox: &str) {
        let header = sandbox::WriteFileHeader {
            path: b"kept.txt".to_vec(),
            ..Default::default()
        };
        let content = FILE_SECRET.as_bytes().to_vec();
        let parts = [Part::Header(header), Part::Data(content)];
        let file = parts.map(|part| sandbox::WriteFileRequest { part: Some(part) });
        let mut client = FileServiceClient::new(self.channel.clone());
        let write = self.request(tokio_stream::iter(file), &[("x-sandbox-id", sandbox)]);
        client.write_file(write).await.expect("written");
        let sync = sandbox::SyncFilesRequest::default();
        let sync = self.request(sync, &[("x-sandbox-id", sandbox)]);
        client.sync_files(sync).await.expect("synced");
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

fn traceparent(trace: &str) -> String {
    format!("00-{trace}-{CLIENT_SPAN}-01")
}

fn policy(home: &Home, backend: &Witness) -> std::path::PathBuf {
    let key = home.path().join("upstream.key");
    std::fs::write(&key, format!("{UPSTREAM_SECRET}\n")).expect("a credential");
    std::fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("chmod");
    let text = format!(
        "version: 1
routes:
  - name: notes
    http:
      path_prefix: /note
      methods: [POST]
    operation: note
    tenants: [default]
    upstream:
      url: http://{}
    forward:
      request_headers: [x-note]
    credential:
      header: x-upstream-key
      file: {}
",
        backend.address,
        key.display()
    );
    let file = home.path().join("policy.yaml");
    std::fs::write(&file, text).expect("a policy");
    file
}
