//! The bars of one machine: a warm create with its first exec, an exec by itself, minting a token's worth of
//! session, and the memory of an idle sandbox. Each is measured beside its peer in this run, by a resident
//! client of `sandgate up`, and printed as one JSON line.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench measures with the machine's clock"
)]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sandgate_api::orchestrator::v1 as orchestrator;
use sandgate_api::orchestrator::v1::sandbox_service_client::SandboxServiceClient;
use sandgate_api::sandbox::v1 as sandbox;
use sandgate_api::sandbox::v1::process_service_client::ProcessServiceClient;
use sandgate_e2e::bar::{Bar, median};
use sandgate_e2e::mesh::{Home, Up};
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

/// Creates in a row, as the design asks.
const CREATES: usize = 200;
/// Round trips of the small benches; enough for a steady median.
const ROUND_TRIPS: usize = 500;
/// Longer than eight spares take to start.
const REFILL: Duration = Duration::from_secs(1);
/// A run in CI only checks that the bench ends with right answers.
const SMALL: usize = 10;

fn main() -> anyhow::Result<()> {
    let small = std::env::args().any(|argument| argument == "--small");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let home = Home::new();
    std::fs::write(home.path().join("templates.yaml"), TEMPLATES)?;
    let templates = home.path().join("templates.yaml");
    let up = home.up(&["--templates", templates.to_str().expect("a plain path")]);
    runtime.block_on(async {
        let client = Client::connect(&up).await?;
        warm_create(&client, if small { SMALL } else { CREATES }).await?;
        exec(&client, if small { SMALL } else { ROUND_TRIPS }).await?;
        memory(&up, &client).await
    })
}

/// A pool of eight spares, refilled while the bench takes from it.
const TEMPLATES: &str = "\
version: 1
templates:
  - name: default
    description: the bench's
    pool_size: 8
";

struct Client {
    channel: Channel,
    key: String,
}

impl Client {
    async fn connect(up: &Up<'_>) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{}", up.address))?
            .tcp_nodelay(true)
            .connect()
            .await?;
        Ok(Self {
            channel,
            key: format!("Bearer {}", up.key()),
        })
    }

    fn request<T>(&self, message: T, sandbox_id: Option<&str>) -> Request<T> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert("authorization", self.key.parse().expect("a key is ASCII"));
        if let Some(id) = sandbox_id {
            request
                .metadata_mut()
                .insert("x-sandbox-id", id.parse().expect("an id is ASCII"));
        }
        request
    }

    async fn create(&self, conversation: &str) -> anyhow::Result<orchestrator::Sandbox> {
        let request = orchestrator::CreateSandboxRequest {
            conversation: conversation.to_owned(),
            wait: orchestrator::Wait::Running.into(),
            request_id: conversation.to_owned(),
            ..Default::default()
        };
        let answer = SandboxServiceClient::new(self.channel.clone())
            .create_sandbox(self.request(request, None))
            .await?;
        answer
            .into_inner()
            .sandbox
            .ok_or_else(|| anyhow::anyhow!("no sandbox"))
    }

    async fn exec(&self, sandbox_id: &str) -> anyhow::Result<()> {
        let request = sandbox::RunProcessRequest {
            argv: vec!["/bin/true".to_owned()],
            ..Default::default()
        };
        let mut events = ProcessServiceClient::new(self.channel.clone())
            .run_process(self.request(request, Some(sandbox_id)))
            .await?
            .into_inner();
        while let Some(message) = events.message().await? {
            if let Some(sandbox::process_event::Event::Ended(ended)) =
                message.event.and_then(|event| event.event)
            {
                anyhow::ensure!(
                    ended.how == Some(sandbox::process_ended::How::ExitCode(0)),
                    "true ended as {ended:?}"
                );
                return Ok(());
            }
        }
        anyhow::bail!("the stream ended before the process")
    }

    async fn delete(&self, sandbox_id: &str) -> anyhow::Result<()> {
        let request = orchestrator::DeleteSandboxRequest {
            sandbox_id: sandbox_id.to_owned(),
        };
        SandboxServiceClient::new(self.channel.clone())
            .delete_sandbox(self.request(request, None))
            .await?;
        Ok(())
    }
}

/// A warm create and its first exec, against the bare limit: namespaces made by `unshare`. The limit is measured
/// when the pool is full again: what refills it would slow `unshare` down as well.
async fn warm_create(client: &Client, runs: usize) -> anyhow::Result<()> {
    let mut ours = Vec::with_capacity(runs);
    let mut bare = Vec::with_capacity(runs);
    for run in 0..runs {
        let started = Instant::now();
        let sandbox = client.create(&format!("bench-{run}")).await?;
        client.exec(&sandbox.sandbox_id).await?;
        ours.push(started.elapsed());
        client.delete(&sandbox.sandbox_id).await?;
    }
    tokio::time::sleep(REFILL).await;
    for _ in 0..runs {
        bare.push(spawned(&[
            "unshare",
            "-Urnpimu",
            "--fork",
            "--mount-proc",
            "true",
        ])?);
    }
    Bar {
        name: "warm create + first exec",
        want: 3.0,
        peer: "unshare -Urnpimu --fork --mount-proc true",
        runs,
    }
    .print(median(&ours), median(&bare))
}

/// An exec in a running sandbox, against two bare gRPC hops and a bare spawn.
async fn exec(client: &Client, runs: usize) -> anyhow::Result<()> {
    let sandbox = client.create("bench-exec").await?;
    let hop = sandgate_e2e::bar::EchoHop::start().await?;
    let mut ours = Vec::with_capacity(runs);
    let mut bare = Vec::with_capacity(runs);
    for _ in 0..runs {
        let started = Instant::now();
        client.exec(&sandbox.sandbox_id).await?;
        ours.push(started.elapsed());
        let started = Instant::now();
        hop.call().await?;
        hop.call().await?;
        bare.push(started.elapsed() + spawned(&["/bin/true"])?);
    }
    client.delete(&sandbox.sandbox_id).await?;
    Bar {
        name: "exec round trip",
        want: 1.5,
        peer: "two tonic hops and a bare spawn",
        runs,
    }
    .print(median(&ours), median(&bare))
}

fn spawned(command: &[&str]) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let status = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .status()?;
    anyhow::ensure!(status.success(), "{command:?}: {status}");
    Ok(started.elapsed())
}

/// The anonymous memory of the keeper and the runner of an idle sandbox.
async fn memory(up: &Up<'_>, client: &Client) -> anyhow::Result<()> {
    const LIMIT_BYTES: f64 = 8.0 * 1024.0 * 1024.0;
    let sandbox = client.create("bench-memory").await?;
    client.exec(&sandbox.sandbox_id).await?;
    let largest = sandgate_e2e::bar::anonymous_bytes_per_sandbox(up.pid())?;
    client.delete(&sandbox.sandbox_id).await?;
    Bar {
        name: "memory of keeper + runner",
        want: 1.0,
        peer: "8 MiB",
        runs: 1,
    }
    .print_numbers(largest, LIMIT_BYTES)
}
