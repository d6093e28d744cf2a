//! The commands of the command line, each on the mesh of one data directory.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use sandgate_api::orchestrator::v1 as orchestrator;
use sandgate_api::storage::v1 as storage;
use tonic::Status;

use crate::args::{Command, ConversationArgs, FilesArgs, MeshArgs, RunArgs};
use crate::client::Client;
use crate::data_dir::{Claim, DataDir, Lock, Published};
use crate::failure::explain;
use crate::mesh::Mesh;
use crate::report::{Report, line, print, short};
use crate::{config, init, run, up};

/// How long the owner of a data directory may take to say how it is reached; it starts in well under a second.
const PUBLISH_LIMIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs one command and answers its exit code.
pub(crate) fn run(data_dir: Option<PathBuf>, command: Command) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let code = runtime.block_on(dispatch(data_dir, command));
    // A read of a terminal cannot be interrupted, and nothing else is left.
    runtime.shutdown_background();
    code.unwrap_or_else(|error| failed(&error))
}

fn failed(error: &anyhow::Error) -> ExitCode {
    line(&format!("sandgate: {error:#}"));
    ExitCode::FAILURE
}

async fn dispatch(data_dir: Option<PathBuf>, command: Command) -> anyhow::Result<ExitCode> {
    if matches!(command, Command::GenSecret) {
        let secret = sandgate_token::gen_secret()
            .map_err(|_| anyhow::anyhow!("the kernel gave no randomness"))?;
        print(&secret)?;
        return Ok(ExitCode::SUCCESS);
    }
    let homes = config::homes()?;
    let path = data_dir.unwrap_or_else(|| homes.data.join("sandgate"));
    let data = DataDir::open(&path, &homes.config, homes.runtime.as_deref())?;
    match command {
        Command::Run(args) => run_command(&data, &args).await,
        Command::Up(args) => up::up(&data, &args).await,
        Command::Init(args) => init::command(&data, &args).await,
        Command::Ls => on_mesh(&data, async |client| ls(client).await).await,
        Command::Suspend(args) => on_mesh(&data, async |client| suspend(client, &args).await).await,
        Command::Rm(args) => on_mesh(&data, async |client| rm(client, &args).await).await,
        Command::Files(args) => on_mesh(&data, async |client| files(client, &args).await).await,
        Command::GenSecret
        | Command::Orchestrator(_)
        | Command::Token(_)
        | Command::AuthGateway(_)
        | Command::StorageSync(_)
        | Command::Sandboxd(_) => bail!("this command has no data directory"),
    }
}

async fn run_command(data: &DataDir, args: &RunArgs) -> anyhow::Result<ExitCode> {
    let report = Report::new(args.quiet);
    match data.claim()? {
        Claim::Ours(lock) => {
            let mesh_args = MeshArgs::of_run(&args.mesh);
            let mesh = start(data, &lock, &mesh_args).await?;
            let client = Client::new(data, mesh.published())?;
            let code = run::run(&client, args, &report).await;
            mesh.end(data, &lock).await?;
            code
        }
        Claim::Held { .. } => {
            let client = Client::new(data, &published(data).await?)?;
            run::run(&client, args, &report).await
        }
    }
}

/// Does something on the mesh that runs, or on one that runs for as long as that takes.
async fn on_mesh(
    data: &DataDir,
    work: impl AsyncFnOnce(&Client) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    match data.claim()? {
        Claim::Ours(lock) => {
            let mesh = start(
                data,
                &lock,
                &MeshArgs::of_run(&crate::args::RunMeshArgs::default()),
            )
            .await?;
            let client = Client::new(data, mesh.published())?;
            let code = work(&client).await;
            mesh.end(data, &lock).await?;
            code
        }
        Claim::Held { .. } => work(&Client::new(data, &published(data).await?)?).await,
    }
}

async fn start(data: &DataDir, lock: &Lock, args: &MeshArgs) -> anyhow::Result<Mesh> {
    init::init(data, lock, args.database_url.as_deref(), None).await?;
    Mesh::start(data, lock, args, false).await
}

/// How the mesh that holds the lock is reached.
async fn published(data: &DataDir) -> anyhow::Result<Published> {
    let look = async {
        loop {
            match data.published() {
                Ok(Some(published)) => return Ok(published),
                Ok(None) => tokio::time::sleep(LOOK_EVERY).await,
                Err(error) => return Err(error),
            }
        }
    };
    tokio::time::timeout(PUBLISH_LIMIT, look).await.context(
        "another process holds the data directory and does not serve; end it, or try again",
    )?
}

fn told(status: &Status) -> anyhow::Error {
    anyhow::anyhow!(explain(status))
}

async fn ls(client: &Client) -> anyhow::Result<ExitCode> {
    let mut page_token = String::new();
    print(&format!(
        "{:<24} {:<12} {:<10} {}",
        "CONVERSATION", "PHASE", "SANDBOX", "FILES"
    ))?;
    loop {
        let request = orchestrator::ListSandboxesRequest {
            page_token,
            ..Default::default()
        };
        let page = client
            .sandboxes()
            .list_sandboxes(request)
            .await
            .map_err(|status| told(&status))?
            .into_inner();
        for sandbox in page.sandboxes {
            let phase = sandbox
                .phase()
                .as_str_name()
                .trim_start_matches("PHASE_")
                .to_lowercase();
            let (id, version) = (
                short(&sandbox.sandbox_id),
                short(&sandbox.workspace_version),
            );
            print(&format!(
                "{:<24} {phase:<12} {id:<10} {version}",
                sandbox.conversation
            ))?;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

async fn find(client: &Client, conversation: &str) -> anyhow::Result<orchestrator::Sandbox> {
    let request = orchestrator::ListSandboxesRequest {
        conversation: conversation.to_owned(),
        ..Default::default()
    };
    let page = client
        .sandboxes()
        .list_sandboxes(request)
        .await
        .map_err(|status| told(&status))?
        .into_inner();
    page.sandboxes.into_iter().next().with_context(|| {
        format!("conversation {conversation} has no sandbox; `sandgate ls` lists those that do")
    })
}

async fn suspend(client: &Client, args: &ConversationArgs) -> anyhow::Result<ExitCode> {
    let sandbox_id = find(client, &args.conversation).await?.sandbox_id;
    let request = orchestrator::SuspendSandboxRequest { sandbox_id };
    let answer = client
        .sandboxes()
        .suspend_sandbox(request)
        .await
        .map_err(|status| told(&status))?
        .into_inner();
    let version = answer
        .sandbox
        .map(|sandbox| sandbox.workspace_version)
        .unwrap_or_default();
    line(&format!(
        "sandgate: suspended; files stored as version {}",
        short(&version)
    ));
    Ok(ExitCode::SUCCESS)
}

async fn rm(client: &Client, args: &ConversationArgs) -> anyhow::Result<ExitCode> {
    let sandbox_id = find(client, &args.conversation).await?.sandbox_id;
    let request = orchestrator::DeleteSandboxRequest { sandbox_id };
    let answer = client
        .sandboxes()
        .delete_sandbox(request)
        .await
        .map_err(|status| told(&status))?
        .into_inner();
    let sandbox = answer.sandbox.unwrap_or_default();
    line(&format!(
        "sandgate: deleted; its files are still there as version {}",
        short(&sandbox.workspace_version)
    ));
    let not_synced = sandbox
        .ending
        .map(|ending| ending.not_synced)
        .unwrap_or_default();
    if !not_synced.is_empty() {
        line(&format!("sandgate: not stored: {not_synced}"));
    }
    Ok(ExitCode::SUCCESS)
}

async fn files(client: &Client, args: &FilesArgs) -> anyhow::Result<ExitCode> {
    let workspace = Some(storage::WorkspaceName {
        tenant: String::new(),
        user: String::new(),
        conversation: args.conversation.clone(),
    });
    if let Some(path) = &args.path {
        let path = path.trim_start_matches("/workspace/").as_bytes().to_vec();
        let request = storage::ReadFileRequest {
            workspace,
            path,
            ..Default::default()
        };
        let answer = client
            .workspaces()
            .read_file(request)
            .await
            .map_err(|status| told(&status))?;
        let mut pieces = answer.into_inner();
        while let Some(piece) = pieces.message().await.map_err(|status| told(&status))? {
            run::pass_on(std::io::stdout().lock(), &piece.data).map_err(|status| told(&status))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut page_token = String::new();
    loop {
        let request = storage::ListFilesRequest {
            workspace: workspace.clone(),
            page_token,
            ..Default::default()
        };
        let page = client
            .workspaces()
            .list_files(request)
            .await
            .map_err(|status| told(&status))?
            .into_inner();
        for entry in page.entries {
            let path = String::from_utf8_lossy(&entry.path)
                .escape_debug()
                .to_string();
            print(&format!("{:>12}  {path}", entry.size))?;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
    }
}
