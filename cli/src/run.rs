//! `sandgate run`: one command in a conversation's sandbox, from finding the sandbox to storing its files.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_api::orchestrator::v1 as orchestrator;
use sandgate_api::sandbox::v1 as sandbox;
use sandgate_types::LinkId;
use tokio::io::AsyncReadExt as _;
use tonic::{Request, Status};

use crate::args::RunArgs;
use crate::client::Client;
use crate::failure::explain;
use crate::report::Report;

/// What a shell answers for a command that it cannot start.
const EXIT_NOT_STARTED: u8 = 127;
/// What a shell adds to the number of the signal that ended a command.
const EXIT_SIGNAL_BASE: i32 = 128;
/// One message of standard input; a tenth of a message's limit, so that none is refused for its size.
const STDIN_PIECE_BYTES: usize = 256 * 1024;
const SANDBOX_ID: &str = "x-sandbox-id";

/// Runs the command and answers its exit code.
pub(crate) async fn run(
    client: &Client,
    args: &RunArgs,
    report: &Report,
) -> anyhow::Result<ExitCode> {
    let timeout = args
        .timeout
        .as_deref()
        .map(|text| sandgate_types::parse_duration("--timeout", text))
        .transpose()?;
    let environment = args
        .env
        .iter()
        .map(|pair| split_pair(pair))
        .collect::<anyhow::Result<_>>()?;
    let created = match create(client, args).await {
        Ok(created) => created,
        Err(status) => return Ok(report.failure(&explain(&status))),
    };
    let found = created.sandbox.context("the mesh answered no sandbox")?;
    report.sandbox(&args.conversation, &found, created.created);

    let request = sandbox::RunProcessRequest {
        argv: args.command.clone(),
        environment,
        cwd: args.cwd.clone(),
        stdin: bytes_none(),
        keep_stdin_open: true,
        pty: if args.tty { terminal_size() } else { None },
        timeout: timeout.map(sandgate_api::duration_to),
    };
    let raw = if args.tty {
        crate::terminal::Raw::enter()
    } else {
        None
    };
    let ended = follow(client, &found.sandbox_id, request).await;
    drop(raw);
    let ended = match ended {
        Ok(ended) => ended,
        Err(status) => {
            report.failure(&explain(&status));
            return Ok(ExitCode::from(EXIT_NOT_STARTED));
        }
    };
    match client
        .files()
        .sync_files(inside(&found.sandbox_id, sandbox::SyncFilesRequest {})?)
        .await
    {
        Ok(synced) => report.ended(&args.conversation, &ended, &synced.into_inner()),
        Err(status) => {
            report.failure(&format!(
                "the files could not be stored: {}",
                explain(&status)
            ));
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(exit_code(&ended))
}

fn bytes_none() -> Vec<u8> {
    Vec::new()
}

async fn create(
    client: &Client,
    args: &RunArgs,
) -> Result<orchestrator::CreateSandboxResponse, Status> {
    let request = orchestrator::CreateSandboxRequest {
        conversation: args.conversation.clone(),
        user: String::new(),
        template: args.template.clone(),
        ttl: None,
        idle_timeout: None,
        labels: std::collections::HashMap::new(),
        environment: std::collections::HashMap::new(),
        operations: None,
        wait: orchestrator::Wait::Ready.into(),
        request_id: LinkId::random(&mut StdRng::from_os_rng())
            .as_str()
            .to_owned(),
    };
    let found = client
        .sandboxes()
        .create_sandbox(request)
        .await?
        .into_inner();
    let suspended = found
        .sandbox
        .as_ref()
        .is_some_and(|sandbox| sandbox.phase() == orchestrator::Phase::Suspended);
    if !suspended {
        return Ok(found);
    }
    let sandbox_id = found
        .sandbox
        .map(|sandbox| sandbox.sandbox_id)
        .unwrap_or_default();
    let request = orchestrator::ResumeSandboxRequest {
        sandbox_id,
        wait: orchestrator::Wait::Ready.into(),
    };
    let resumed = client
        .sandboxes()
        .resume_sandbox(request)
        .await?
        .into_inner();
    Ok(orchestrator::CreateSandboxResponse {
        sandbox: resumed.sandbox,
        created: false,
    })
}

/// Addresses a call to a sandbox itself.
fn inside<T>(sandbox_id: &str, message: T) -> anyhow::Result<Request<T>> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(
        SANDBOX_ID,
        sandbox_id
            .parse()
            .context("the mesh answered a strange sandbox id")?,
    );
    Ok(request)
}

/// Starts the process, passes its output on as it comes and our input to it, and answers how it ended.
async fn follow(
    client: &Client,
    sandbox_id: &str,
    request: sandbox::RunProcessRequest,
) -> Result<sandbox::ProcessEnded, Status> {
    let broken = |error: anyhow::Error| Status::internal(error.to_string());
    let mut events = client
        .processes()
        .run_process(inside(sandbox_id, request).map_err(broken)?)
        .await?
        .into_inner();
    let mut process_id: Option<String> = None;
    let (input_sender, mut input) = tokio::sync::mpsc::channel::<Vec<u8>>(2);
    read_stdin(input_sender);
    let mut input_open = true;
    loop {
        tokio::select! {
            event = events.message() => match event?.and_then(|message| message.event).and_then(|event| event.event) {
                Some(sandbox::process_event::Event::Started(started)) => process_id = Some(started.process_id),
                Some(sandbox::process_event::Event::Stdout(output)) => pass_on(std::io::stdout().lock(), &output.data)?,
                Some(sandbox::process_event::Event::Stderr(output)) => pass_on(std::io::stderr().lock(), &output.data)?,
                Some(sandbox::process_event::Event::Ended(ended)) => return Ok(ended),
                None => return Err(Status::unavailable("the connection ended before the command did")),
            },
            piece = input.recv(), if input_open && process_id.is_some() => {
                input_open = piece.is_some();
                let close = piece.is_none();
                let request = sandbox::WriteStdinRequest {
                    process_id: process_id.clone().unwrap_or_default(),
                    data: piece.unwrap_or_default(),
                    close,
                };
                // A command that has closed its input, or ended, does not want it; its end follows.
                if client.processes().write_stdin(inside(sandbox_id, request).map_err(broken)?).await.is_err() {
                    input_open = false;
                }
            }
            interrupt = tokio::signal::ctrl_c(), if process_id.is_some() => {
                interrupt.map_err(|error| Status::internal(error.to_string()))?;
                let request = sandbox::SignalProcessRequest {
                    process_id: process_id.clone().unwrap_or_default(),
                    signal: 2,
                    group: true,
                };
                client.processes().signal_process(inside(sandbox_id, request).map_err(broken)?).await?;
            }
        }
    }
}

/// Reads standard input until it ends, on a thread of tokio's that nothing waits for.
#[expect(
    clippy::disallowed_methods,
    reason = "a blocked read of a terminal cannot be joined; it ends with the process"
)]
fn read_stdin(sender: tokio::sync::mpsc::Sender<Vec<u8>>) {
    tokio::spawn(async move {
        let mut stdin = tokio::io::stdin();
        let mut piece = vec![0; STDIN_PIECE_BYTES];
        while let Ok(count) = stdin.read(&mut piece).await {
            let Some(read) = piece.get(..count).filter(|read| !read.is_empty()) else {
                return;
            };
            if sender.send(read.to_vec()).await.is_err() {
                return;
            }
        }
    });
}

/// Writes what a command wrote, as it comes.
pub(crate) fn pass_on(mut to: impl std::io::Write, data: &[u8]) -> Result<(), Status> {
    to.write_all(data)
        .and_then(|()| to.flush())
        .map_err(|error| Status::cancelled(format!("write output: {error}")))
}

fn terminal_size() -> Option<sandbox::PtySize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdin()).ok()?;
    Some(sandbox::PtySize {
        rows: size.ws_row.clamp(1, 1000).into(),
        columns: size.ws_col.clamp(1, 1000).into(),
    })
}

fn split_pair(pair: &str) -> anyhow::Result<(String, String)> {
    let (name, value) = pair
        .split_once('=')
        .with_context(|| "--env must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn exit_code(ended: &sandbox::ProcessEnded) -> ExitCode {
    let number = match ended.how {
        Some(sandbox::process_ended::How::ExitCode(code)) => code,
        Some(sandbox::process_ended::How::Signal(signal)) => EXIT_SIGNAL_BASE + signal,
        None => 1,
    };
    ExitCode::from(u8::try_from(number).unwrap_or(1))
}

/// How long something took, as people say it.
pub(crate) fn spoken(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}
