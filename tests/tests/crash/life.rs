//! A mesh of separate processes that are kept running, and a whole conversation on it: whatever dies on the way,
//! its client only makes its calls again, and at the end nothing is left.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use sandgate_api::orchestrator::v1::{Phase, Sandbox};
use sandgate_api::token::v1::Audience;
use sandgate_e2e::client::{Client, Ran};
use sandgate_e2e::config;
use sandgate_e2e::mesh::Home;
use sandgate_e2e::processes::{Kept, Plan, Service};
use sandgate_e2e::remains::{self, Found, Namespaces};
use tonic::Status;

/// Sandboxes are made when they are asked for, so that every one that is left over is seen.
const TEMPLATES: &str = "\
version: 1
templates:
  - name: default
    description: without spares
    pool_size: 0
    stop_grace: 1s
";
/// What dies with its parent or its socket is gone by then.
const GONE_LIMIT: Duration = Duration::from_secs(10);
/// How often the orchestrator compares what there is with what there should be, unless it is told otherwise.
const COMPARED_EVERY: Duration = Duration::from_secs(30);
/// What it removes when it compares is gone after two comparisons: a control group whose last process is still ending
/// at the first is left to the second, which takes its time, too.
const SWEPT_LIMIT: Duration = COMPARED_EVERY.saturating_mul(2).saturating_add(GONE_LIMIT);
/// Between two looks at what is to be gone.
const LOOK: Duration = Duration::from_millis(100);
/// Says whose process it is, inside the sandbox too.
const AGENT: &str = "an-agent-of";

/// The mesh.
pub(crate) struct Mesh<'home> {
    home: &'home Home,
    plan: Plan<'home>,
    services: Vec<(Service, Kept)>,
}

/// What a sandbox had while it lived.
#[derive(Default)]
pub(crate) struct Traces {
    namespaces: Namespaces,
    instances: BTreeSet<String>,
    tokens: Vec<(Audience, String)>,
}

impl<'home> Mesh<'home> {
    /// Starts it from these binaries.
    pub(crate) fn start(home: &'home Home, binaries: PathBuf) -> Self {
        let plan = Plan::new(home)
            .of_binaries(binaries)
            .with_templates(TEMPLATES);
        let services = Service::ALL.map(|service| (service, Kept::start(plan.launch(service))));
        Self {
            home,
            services: services.into(),
            plan,
        }
    }

    pub(crate) fn kept(&self, service: Service) -> &Kept {
        let (_, kept) = self
            .services
            .iter()
            .find(|(other, _)| *other == service)
            .expect("all are there");
        kept
    }

    /// A client of this conversation.
    pub(crate) fn client(&self, conversation: &str) -> Client {
        let key = std::fs::read_to_string(self.home.api_key()).expect("the API key");
        Client::new(&self.plan.clients, key.trim(), conversation)
    }

    /// Where clients connect.
    pub(crate) fn clients(&self) -> &str {
        &self.plan.clients
    }

    /// Whose deaths there were since each was killed last.
    pub(crate) fn deaths(&self) -> Vec<(Service, usize)> {
        let deaths = self
            .services
            .iter()
            .map(|(service, kept)| (*service, kept.deaths()));
        deaths.filter(|(_, deaths)| *deaths > 0).collect()
    }

    /// The processes of the mesh that are none of the services themselves: those of sandboxes.
    pub(crate) fn of_sandboxes(&self) -> Vec<Found> {
        let services: Vec<u32> = self.services.iter().map(|(_, kept)| kept.pid()).collect();
        let marker = self.home.path().to_str().expect("a plain path");
        remains::processes(marker)
            .into_iter()
            .filter(|found| !services.contains(&found.pid))
            .collect()
    }

    /// A command that is known for ours by its words.
    pub(crate) fn agent<'a>(&'a self, script: &'a str) -> [&'a str; 5] {
        let marker = self.home.path().to_str().expect("a plain path");
        ["/bin/sh", "-c", script, AGENT, marker]
    }

    /// Mints tokens for the sandbox that runs, as the orchestrator could; the error says why that is refused.
    pub(crate) fn mint(&self, sandbox: &Sandbox) -> Result<Vec<(Audience, String)>, String> {
        let instance = sandbox.instance.as_ref().expect("it runs");
        let request = serde_json::json!({
            "sessionId": instance.instance_id.replacen('i', "e", 1),
            "tenant": sandbox.tenant,
            "user": sandbox.user,
            "conversation": sandbox.conversation,
            "sandboxId": sandbox.sandbox_id,
            "instanceId": instance.instance_id,
            "generation": instance.generation,
            "templateOperations": ["*"],
            "policyRevision": 1,
            "sessionStart": instance.claimed_at.expect("it was claimed").to_string(),
            "sessionMax": "3600s",
        });
        let (certificate, key) = self.plan.identity(Service::Orchestrator);
        let output = Command::new(config::grpcurl())
            .args(["-insecure", "-max-time", "20", "-cert"])
            .arg(certificate)
            .arg("-key")
            .arg(key)
            .args(["-d", &request.to_string(), &self.plan.token])
            .arg("sandgate.token.v1.TokenService/MintSession")
            .output()
            .expect("start grpcurl");
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let token = |name: &str| answer["tokens"][name].as_str().expect("a token").to_owned();
        Ok(vec![
            (Audience::Agent, token("agentToken")),
            (Audience::Daemon, token("daemonToken")),
        ])
    }

    /// Notes what the sandbox that runs has on this machine, and tokens that are good for it.
    pub(crate) async fn note(&self, client: &Client, sandbox: &Sandbox, traces: &mut Traces) {
        let of_sandboxes = self.of_sandboxes();
        traces.namespaces.extend(remains::namespaces(&of_sandboxes));
        assert!(!traces.namespaces.is_empty(), "{of_sandboxes:?}");
        let instance = sandbox.instance.as_ref().expect("it runs");
        traces.instances.insert(instance.instance_id.clone());
        // Only what was good before is refused for its end.
        let tokens = client
            .insist("mint", async |_| {
                self.mint(sandbox).map_err(|said| {
                    let away = ["Unavailable", "DeadlineExceeded", "dial"];
                    if away.iter().any(|word| said.contains(word)) {
                        Status::unavailable(said)
                    } else {
                        Status::data_loss(said)
                    }
                })
            })
            .await;
        for (audience, token) in tokens {
            let refusal = client
                .insist("validate", async |client| {
                    client.refusal(&token, audience).await
                })
                .await;
            assert_eq!(refusal, "", "a new {audience:?} token is good");
            traces.tokens.push((audience, token));
        }
    }

    /// No process, namespace, control group, file or good token of a sandbox is left.
    pub(crate) async fn nothing_is_left(&self, client: &Client, traces: &Traces, row: &str) {
        for found in self.of_sandboxes() {
            let gone = remains::is_gone_within(found.pid, GONE_LIMIT);
            assert!(gone, "after {row}, still there: {found:?}");
        }
        let left = self.of_sandboxes();
        assert!(left.is_empty(), "after {row}, still there: {left:?}");
        for pid in remains::inhabitants(&traces.namespaces) {
            let gone = remains::is_gone_within(pid, GONE_LIMIT);
            assert!(gone, "after {row}, still inside: {pid}");
        }
        for instance in &traces.instances {
            let files = remains::files(self.home.path(), instance);
            assert!(files.is_empty(), "after {row}: {files:?}");
        }
        let orchestrator = self.kept(Service::Orchestrator);
        for pid in orchestrator.gone().into_iter().chain([orchestrator.pid()]) {
            let marker = format!("sandgate-{pid}-");
            let swept = async {
                let mut look = tokio::time::interval(LOOK);
                while !remains::groups(&marker).is_empty() {
                    look.tick().await;
                }
            };
            let swept = tokio::time::timeout(SWEPT_LIMIT, swept).await;
            let left = remains::groups(&marker);
            assert!(swept.is_ok(), "after {row}: {left:?}");
        }
        for (audience, token) in &traces.tokens {
            let refusal = client
                .insist("validate", async |client| {
                    client.refusal(token, *audience).await
                })
                .await;
            assert_ne!(refusal, "", "after {row}, a {audience:?} token is good");
        }
    }
}

impl Drop for Mesh<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        // For whoever reads of the failure.
        for (service, kept) in &self.services {
            let log = kept.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.len().saturating_sub(20);
            let text = lines[last..].join("\n");
            writeln!(std::io::stderr(), "--- {service:?}\n{text}").unwrap_or_default();
        }
    }
}

/// The conversation's sandbox, ready: made by the request, or found as it left it, whatever became of it since.
pub(crate) async fn ready(client: &Client, request_id: &str) -> Sandbox {
    client
        .insist("create", async |client| {
            ready_once(client, request_id).await
        })
        .await
}

/// The same, and what it has on this machine is noted. An orchestrator that dies as soon as it has answered takes the
/// sandbox along, once; then there is another.
async fn noted(mesh: &Mesh<'_>, client: &Client, row: &str, traces: &mut Traces) -> Sandbox {
    let mut sandbox = ready(client, row).await;
    if mesh.of_sandboxes().is_empty() {
        sandbox = ready(client, row).await;
    }
    mesh.note(client, &sandbox, traces).await;
    sandbox
}

async fn ready_once(client: &Client, request_id: &str) -> Result<Sandbox, Status> {
    let found = client.create(request_id).await?;
    match found.phase() {
        Phase::Ready => Ok(found),
        // Its orchestrator died, and what it ran with it.
        Phase::Suspended => client.resume(&found.sandbox_id).await,
        Phase::Claiming | Phase::Attaching | Phase::Hydrating | Phase::Suspending => {
            Err(Status::unavailable("it is on its way"))
        }
        phase @ (Phase::Unspecified
        | Phase::Deleting
        | Phase::Deleted
        | Phase::Finished
        | Phase::Failed) => {
            let Sandbox { message, .. } = found;
            Err(Status::data_loss(format!("it is {phase:?}: {message}")))
        }
    }
}

/// Runs a command; when the sandbox is lost meanwhile, in the one that comes of it.
pub(crate) async fn exec(client: &Client, request_id: &str, argv: &[&str]) -> Ran {
    client
        .insist("exec", async |client| {
            let sandbox = ready_once(client, request_id).await?;
            client.exec(&sandbox.sandbox_id, argv).await.map_err(again)
        })
        .await
}

/// Whatever a call into a sandbox says while the sandbox is being lost, it may be made again in the next.
pub(crate) fn again(status: Status) -> Status {
    Status::unavailable(format!("{:?}: {}", status.code(), status.message()))
}

/// From the create to the delete: a file is written, synced, and read again after a suspend, where one is made.
pub(crate) async fn live(mesh: &Mesh<'_>, client: &Client, row: &str, suspends: bool) {
    let mut traces = Traces::default();
    let sandbox = noted(mesh, client, row, &mut traces).await;
    let id = sandbox.sandbox_id.clone();

    let ran = exec(
        client,
        row,
        &mesh.agent("echo kept > f; sleep 1000 & echo up"),
    )
    .await;
    assert_eq!(ran.stdout, "up\n", "{row}");
    client
        .insist("sync", async |client| {
            let sandbox = ready_once(client, row).await?;
            client.sync(&sandbox.sandbox_id).await.map_err(again)
        })
        .await;
    client
        .insist("store", async |client| {
            client.store("g", "stored", row).await
        })
        .await;
    let version = client
        .insist("stored", async |client| client.stored("g").await)
        .await;
    assert_eq!(version, "stored", "{row}");
    if suspends {
        let suspended = client
            .insist("suspend", async |client| client.suspend(&id).await)
            .await;
        assert_eq!(suspended.phase(), Phase::Suspended, "{row}");
        let resumed = noted(mesh, client, row, &mut traces).await;
        assert_eq!(resumed.sandbox_id, id, "{row}");
        let ran = exec(client, row, &mesh.agent("cat f g")).await;
        assert_eq!(ran.stdout, "kept\nstored", "{row}");
    }
    let again = ready(client, row).await;
    assert_eq!(again.sandbox_id, id, "{row}: one sandbox for one request");

    let deleted = client
        .insist("delete", async |client| client.delete(&id).await)
        .await;
    assert_eq!(deleted.phase(), Phase::Deleted, "{row}");
    let rows = client
        .insist("list", async |client| client.list().await)
        .await;
    let phases: Vec<Phase> = rows.iter().map(Sandbox::phase).collect();
    assert_eq!(phases, [Phase::Deleted], "{row}: {rows:?}");
    mesh.nothing_is_left(client, &traces, row).await;
    let kept = client
        .insist("stored", async |client| client.stored("f").await)
        .await;
    assert_eq!(kept, "kept\n", "{row}");
    let refused = mesh
        .mint(&again)
        .expect_err("its instance is revoked for ever");
    assert!(refused.contains("FailedPrecondition"), "{row}: {refused}");
}
