//! The commands of the command line, each on the mesh of one data directory.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::args::{Command, MeshArgs, RunArgs, RunMeshArgs};
use crate::client::Client;
use crate::data_dir::{self, Claim, DataDir, Lock, NotSetUp, Published, Share};
use crate::mesh::Mesh;
use crate::report::{Report, Unwritten, line, print};
use crate::signals::Signals;
use crate::{admin, config, conversation, init, policy, quota, run, up};

/// How long a mesh may take that is starting or ending; it syncs and suspends what runs then.
const REACH_LIMIT: Duration = Duration::from_secs(120);
/// How often is looked whether it has, and whether the last client has gone.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What clap answers for a command line that is wrong, and so we for a directory that was mistyped.
const EXIT_USAGE: u8 = 2;

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
    // Whoever reads us has read enough, as `head` has.
    if error
        .downcast_ref::<Unwritten>()
        .is_some_and(Unwritten::reader_has_gone)
    {
        return ExitCode::FAILURE;
    }
    line(&format!("sandgate: {error:#}"));
    if error.is::<NotSetUp>() {
        ExitCode::from(EXIT_USAGE)
    } else {
        ExitCode::FAILURE
    }
}

async fn dispatch(data_dir: Option<PathBuf>, command: Command) -> anyhow::Result<ExitCode> {
    if matches!(command, Command::GenSecret) {
        let secret = sandgate_token::gen_secret()
            .map_err(|_| anyhow::anyhow!("the kernel gave no randomness"))?;
        print(&secret)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Command::Policy(args) = &command {
        return policy::policy(args);
    }
    let homes = config::homes()?;
    let path = data_dir.unwrap_or_else(|| homes.data.join("sandgate"));
    if command.asks() && data_dir::is_vacant(&path) {
        return Err(NotSetUp(path).into());
    }
    let data = DataDir::open(&path, &homes.config, homes.runtime.as_deref())?;
    match command {
        Command::Run(args) => run_command(&data, &args).await,
        Command::Up(args) => up::up(&data, &args).await,
        Command::Init(args) => init::command(&data, &args).await,
        Command::Ls(args) => ask(&data, &args.mesh, conversation::ls).await,
        Command::Suspend(args) => {
            let work = async |client: &Client| conversation::suspend(client, &args).await;
            ask(&data, &args.mesh, work).await
        }
        Command::Rm(args) => {
            let work = async |client: &Client| conversation::rm(client, &args).await;
            ask(&data, &args.mesh, work).await
        }
        Command::Files(args) => {
            let work = async |client: &Client| conversation::files(client, &args).await;
            ask(&data, &args.mesh, work).await
        }
        Command::Quota(args) => {
            let work = async |client: &Client| quota::quota(client, &args.verb).await;
            ask(&data, &args.mesh, work).await
        }
        Command::Tenant(args) => {
            let work = async |client: &Client| admin::tenant(client, &args.verb).await;
            ask(&data, &args.mesh, work).await
        }
        Command::ApiKey(args) => {
            let work = async |client: &Client| admin::api_key(client, &args.verb).await;
            ask(&data, &args.mesh, work).await
        }
        Command::Key(args) => {
            let work = async |client: &Client| admin::signing_key(client, &args.verb).await;
            ask(&data, &args.mesh, work).await
        }
        Command::Revoke(args) => {
            let work = async |client: &Client| admin::revoke(client, &args).await;
            ask(&data, &args.mesh, work).await
        }
        Command::GenSecret
        | Command::Policy(_)
        | Command::Orchestrator(_)
        | Command::Token(_)
        | Command::AuthGateway(_)
        | Command::StorageSync(_)
        | Command::Sandboxd(_) => bail!("this command has no data directory"),
    }
}

async fn run_command(data: &DataDir, args: &RunArgs) -> anyhow::Result<ExitCode> {
    let report = Report::new(args.quiet);
    let work = async |client: &Client, signals: &mut Signals| {
        run::run(client, args, &report.on(client), signals).await
    };
    let mut signals = Signals::take()?;
    let reach = signals.during(reach(data)).await?;
    on_mesh(data, &args.mesh, reach, signals, work).await
}

/// Asks something that is answered in a moment.
async fn ask(
    data: &DataDir,
    args: &RunMeshArgs,
    question: impl AsyncFnOnce(&Client) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let work = async |client: &Client, signals: &mut Signals| {
        Box::pin(signals.during(question(client))).await
    };
    let mut signals = Signals::take()?;
    let reach = signals.during(reach(data)).await?;
    if matches!(reach, Reach::Ours(_)) {
        data.is_set_up()?;
    }
    on_mesh(data, args, reach, signals, work).await
}

/// Does something on the mesh that runs, or on one that runs until that and its last client are done.
async fn on_mesh(
    data: &DataDir,
    args: &RunMeshArgs,
    reach: Reach,
    mut signals: Signals,
    work: impl AsyncFnOnce(&Client, &mut Signals) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    match reach {
        Reach::Ours(lock) => {
            let args = MeshArgs::of_run(args);
            let starting = Box::pin(Mesh::start(data, &lock, &args, false));
            let mesh = signals.during(starting).await?;
            let client = Client::new(data, mesh.published())?;
            let code = tokio::select! {
                code = work(&client, &mut signals) => code,
                why = mesh.broken() => Err(anyhow::anyhow!(why)),
            };
            let ending = async {
                let _nobody = last(data, &lock).await?;
                mesh.end(data, &lock).await
            };
            signals.during(Box::pin(ending)).await?;
            code
        }
        Reach::Theirs(published, _part) => {
            published.is_as_asked(data, args)?;
            work(&Client::new(data, &published)?, &mut signals).await
        }
    }
}

/// Whose mesh there is.
enum Reach {
    /// None, so it is ours to make.
    Ours(Lock),
    /// Another process's, which does not end before we give up our part.
    Theirs(Published, Share),
}

/// Waits for a mesh that starts or ends meanwhile.
async fn reach(data: &DataDir) -> anyhow::Result<Reach> {
    let look = async {
        loop {
            match data.claim()? {
                Claim::Ours(lock) => return Ok(Reach::Ours(lock)),
                Claim::Separate { holders } => bail!(data.served_by(&holders)),
                Claim::Held { .. } => {}
            }
            // In this order: what is published is not taken back while we have a part, unless somebody insists.
            if let Some(part) = data.share()?
                && let Some(published) = data.published()?
            {
                return Ok(Reach::Theirs(published, part));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(REACH_LIMIT, look).await.context(
        "another process holds the data directory and does not serve; end it, or try again",
    )?
}

/// Waits until no other client is left, and keeps new ones waiting from then on.
async fn last(data: &DataDir, lock: &Lock) -> anyhow::Result<Share> {
    loop {
        if let Some(all) = data.share_of_all(lock)? {
            return Ok(all);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
