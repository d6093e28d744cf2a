//! `sandgate up`: the mesh, until somebody ends it.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use sandgate_telemetry::{LogFormat, Settings};

use crate::args::MeshArgs;
use crate::data_dir::{Claim, DataDir};
use crate::init::held_by;
use crate::mesh::Mesh;
use crate::report::{line, print};
use crate::signals::Signals;

/// The last spans may take this long.
const FLUSH_LIMIT: std::time::Duration = std::time::Duration::from_secs(2);

/// Runs the mesh.
pub(crate) async fn up(data: &DataDir, args: &MeshArgs) -> anyhow::Result<ExitCode> {
    let lock = match data.claim()? {
        Claim::Ours(lock) => lock,
        Claim::Held { pid } => bail!("{} is in use{}", data.path().display(), held_by(pid)),
    };
    let telemetry = sandgate_telemetry::init(&Settings {
        service: "sandgate",
        format: LogFormat::Text,
        filter: args.log.clone(),
        otlp: args.otlp_endpoint.clone(),
    })
    .context("set logs and traces up")?;
    let mut signals = Signals::take()?;
    let mesh = Mesh::start(data, &lock, args, true).await?;
    greet(data, &mesh)?;
    let broken = tokio::select! {
        _number = signals.next() => None,
        why = mesh.broken() => Some(why),
    };
    line("sandgate: syncing and suspending what runs; once more Ctrl-C ends at once");
    tokio::select! {
        ended = mesh.end(data, &lock) => ended?,
        () = signals.insist() => {}
    }
    telemetry.flush(FLUSH_LIMIT).await;
    match broken {
        None => Ok(ExitCode::SUCCESS),
        Some(why) => bail!(why),
    }
}

/// Where everything is, and three lines to paste.
fn greet(data: &DataDir, mesh: &Mesh) -> anyhow::Result<()> {
    let address = mesh.published().address.clone().unwrap_or_default();
    let key = data.api_key();
    let key = key.display();
    let memory = mesh
        .bounds()
        .into_iter()
        .find(|bound| bound.resource == "memory");
    let memory = memory
        .map(|bound| format!("memory bounded by {}", bound.mechanism))
        .unwrap_or_default();
    print(&format!("sandgate is up: clients connect to {address}"))?;
    print(&format!("  API key   {key}"))?;
    print(&format!("  data      {}", data.path().display()))?;
    print(&format!("  sandboxes on this machine, {memory}"))?;
    print("")?;
    print("Try, in another terminal:")?;
    let call = format!("grpcurl -plaintext -H \"authorization: Bearer $(cat {key})\"");
    let service = "sandgate.orchestrator.v1.SandboxService";
    print(&format!("  {call} {address} list"))?;
    print(&format!(
        "  {call} -d '{{\"conversation\":\"demo\",\"requestId\":\"demo-1\"}}' {address} {service}/CreateSandbox"
    ))?;
    print(&format!("  {call} {address} {service}/ListSandboxes"))?;
    print("")?;
    print("Ctrl-C syncs and suspends what runs, and ends.")
}
