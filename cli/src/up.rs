//! `sandgate up`: the mesh, until somebody ends it.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use sandgate_telemetry::{LogFormat, Settings};

use crate::args::MeshArgs;
use crate::data_dir::DataDir;
use crate::mesh::Mesh;
use crate::report::{line, print};
use crate::signals::Signals;

/// Whether a policy is in force or was refused is said whatever else is logged: whoever edits it looks here.
const POLICY: &str = "sandgate_auth_gateway::freshness=info";
/// That the database has lost revocations is the reason of our refusal, and is not said twice.
const LOSS: &str = "sandgate_token::witness=off";
/// The last spans may take this long.
const FLUSH_LIMIT: std::time::Duration = std::time::Duration::from_secs(2);

/// Runs the mesh.
pub(crate) async fn up(data: &DataDir, args: &MeshArgs) -> anyhow::Result<ExitCode> {
    let lock = data.claim_or_name(data.claim()?)?;
    let telemetry = sandgate_telemetry::init(&Settings {
        service: "sandgate",
        format: LogFormat::Text,
        filter: format!("{},{POLICY},{LOSS}", args.log),
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

/// Where everything is, and lines to paste.
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
    match &mesh.published().policy {
        Some(file) => print(&format!(
            "  policy    {}; an edit is in force within seconds, or told here",
            file.display()
        ))?,
        None => print("  policy    none, so sandboxes may call nothing (--policy FILE)")?,
    }
    print(&format!("  sandboxes on this machine, {memory}"))?;
    print("")?;
    print("Try, in another terminal:")?;
    let call = format!("grpcurl -plaintext -H \"authorization: Bearer $(cat {key})\"");
    let service = "sandgate.orchestrator.v1.SandboxService";
    print(&format!("  {call} {address} list"))?;
    let create = r#"{"conversation":"demo","requestId":"'$(date +%s%N)'"}"#;
    let id = r#"sed -n 's/.*"sandboxId": "\(.*\)".*/\1/p'"#;
    print(&format!(
        "  SANDBOX=$({call} -d '{create}' {address} {service}/CreateSandbox | {id})"
    ))?;
    // A conversation of an earlier day is suspended.
    let resume = r#"{"sandboxId":"'$SANDBOX'","requestId":"'$(date +%s%N)'"}"#;
    print(&format!(
        "  {call} -d '{resume}' {address} {service}/ResumeSandbox"
    ))?;
    print(&format!(
        "  {call} -H \"x-sandbox-id: $SANDBOX\" -d '{{\"argv\":[\"uname\",\"-n\"]}}' {address} sandgate.sandbox.v1.ProcessService/RunProcess"
    ))?;
    print(
        "(Output is base64, as bytes are in JSON. ListSandboxes has the ids, if SANDBOX is another terminal's.)",
    )?;
    print("")?;
    print("Ctrl-C syncs and suspends what runs, and ends.")?;
    Ok(())
}
