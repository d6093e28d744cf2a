//! `sandgate run`: one command in a conversation's sandbox, from finding the sandbox to storing its files.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_api::orchestrator::v1 as orchestrator;
use sandgate_api::sandbox::v1 as sandbox;
use sandgate_types::LinkId;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::aftermath::{Aftermath, Loss};
use crate::args::RunArgs;
use crate::client::Client;
use crate::failure::visible;
use crate::follow::{Cause, Followed, Inside, Lost, follow};
use crate::report::Report;
use crate::signals::Signals;

/// A sandbox that is ending, its last sync included, is gone by then.
const ENDING_LIMIT: Duration = Duration::from_secs(60);
/// What a shell answers for a command that is there and cannot be started.
const EXIT_NOT_EXECUTABLE: u8 = 126;
/// What a shell answers for a command that is not there.
const EXIT_MISSING: u8 = 127;
/// The connection to a command broke, so nobody knows how it ends; EX_SOFTWARE of sysexits.
const EXIT_LOST: u8 = 70;
/// What a shell adds to the number of the signal that ended a command.
const EXIT_SIGNAL_BASE: i32 = 128;
/// Where a refusal to start a program says what is wrong with it.
const PROGRAM: &str = "program";

/// Runs the command and answers its exit code.
pub(crate) async fn run(
    client: &Client,
    args: &RunArgs,
    report: &Report,
    signals: &mut Signals,
) -> anyhow::Result<ExitCode> {
    let request = request(args)?;
    if let Some(number) = signals.told() {
        return Ok(interrupted(number));
    }
    let created = tokio::select! {
        created = create(client, args) => created,
        number = signals.next() => {
            signals.hear(number);
            return Ok(interrupted(number));
        }
    };
    let created = match created {
        Ok(created) => created,
        Err(status) => return Ok(report.failure(&client.explain(&status))),
    };
    let found = created.sandbox.context("the mesh answered no sandbox")?;
    report.sandbox(&args.conversation, &found, created.created);

    let inside = Inside::of(&found.sandbox_id)?;
    let raw = if args.tty {
        crate::terminal::Raw::enter()
    } else {
        None
    };
    let followed = follow(client, &inside, request, signals).await;
    drop(raw);
    let loss = |ended, cause| Loss {
        conversation: &args.conversation,
        sandbox_id: &found.sandbox_id,
        ended,
        cause,
    };
    let Followed { ended, unwritten } = match followed {
        Ok(followed) => followed,
        Err(Lost::Interrupted(number)) => return Ok(interrupted(number)),
        Err(Lost::NotStarted(cause)) => return Ok(not_started(client, args, report, &cause)),
        Err(Lost::Running(cause)) => {
            let loss = loss(None, said(client, &cause));
            signals.during(Aftermath::tell(client, report, loss)).await;
            return Ok(ExitCode::from(EXIT_LOST));
        }
    };
    let syncing = async {
        let request = inside.call(sandbox::SyncFilesRequest {});
        client.files().sync_files(request).await
    };
    match signals.during(syncing).await {
        Ok(synced) => report.ended(&args.conversation, &ended, &synced.into_inner()),
        Err(status) => {
            let loss = loss(Some(&ended), client.explain(&status));
            let aftermath = signals.during(Aftermath::tell(client, report, loss)).await;
            if !aftermath.all_stored() {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    match unwritten {
        Some(unwritten) if !unwritten.reader_has_gone() => Err(unwritten.into()),
        Some(_) | None => Ok(exit_code(&ended)),
    }
}

/// The process that these arguments ask for.
fn request(args: &RunArgs) -> anyhow::Result<sandbox::RunProcessRequest> {
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
    let mut argv = Vec::with_capacity(args.command.len());
    for argument in &args.command {
        argv.push(text(argument)?);
    }
    Ok(sandbox::RunProcessRequest {
        argv,
        environment,
        cwd: args.cwd.clone(),
        stdin: Vec::new(),
        keep_stdin_open: true,
        pty: if args.tty { terminal_size() } else { None },
        timeout: timeout.map(sandgate_api::duration_to),
    })
}

/// An argument of the command. Calls carry text; the names of files may be more than that.
fn text(argument: &OsStr) -> anyhow::Result<String> {
    let text = argument.to_str().with_context(|| {
        format!(
            "the argument {} is not UTF-8, as a command's must be; a pattern reaches such a file, as in `sh -c 'cat *.txt'`",
            visible(argument.as_bytes())
        )
    })?;
    Ok(text.to_owned())
}

/// Says why the command was not started, and answers what a shell would.
fn not_started(client: &Client, args: &RunArgs, report: &Report, cause: &Cause) -> ExitCode {
    let wrong = match cause {
        Cause::Answer(status) => status.get_details_error_info(),
        Cause::Silence => None,
    };
    let wrong = wrong.and_then(|info| info.metadata.get(PROGRAM).cloned());
    let program = args.command.first().map(|name| visible(name.as_bytes()));
    let program = program.unwrap_or_default();
    let (said, code) = match wrong.as_deref() {
        Some("missing") => (
            format!("{program} does not exist in the sandbox, or an interpreter that it names"),
            EXIT_MISSING,
        ),
        Some("directory") => (
            format!("{program} is a directory, not a program"),
            EXIT_NOT_EXECUTABLE,
        ),
        Some("not_executable") => (
            format!("{program} cannot be executed; `chmod +x` it, if it is a program"),
            EXIT_NOT_EXECUTABLE,
        ),
        Some(_) | None => return report.failure(&said(client, cause)),
    };
    report.failure(&said);
    ExitCode::from(code)
}

fn said(client: &Client, cause: &Cause) -> String {
    match cause {
        Cause::Answer(status) => client.explain(status),
        Cause::Silence => cause.to_string(),
    }
}

/// Creates or finds the conversation's sandbox. One that is just being suspended or deleted, as after a crash, is
/// waited for, and so is a service that is just starting: the mesh says how long to.
async fn create(
    client: &Client,
    args: &RunArgs,
) -> Result<orchestrator::CreateSandboxResponse, Status> {
    let began = tokio::time::Instant::now();
    loop {
        let status = match create_now(client, args).await {
            Ok(found) => return Ok(found),
            Err(status) => status,
        };
        let wait = status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay);
        match (status.code(), wait) {
            (tonic::Code::FailedPrecondition | tonic::Code::Unavailable, Some(wait))
                if began.elapsed() + wait < ENDING_LIMIT =>
            {
                tokio::time::sleep(wait).await;
            }
            _ => return Err(status),
        }
    }
}

async fn create_now(
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
        environment: std::collections::HashMap::new(),
        request_id: LinkId::random(&mut StdRng::from_os_rng())
            .as_str()
            .to_owned(),
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

/// What a shell answers for a command that a signal ended.
fn interrupted(number: i32) -> ExitCode {
    ExitCode::from(u8::try_from(EXIT_SIGNAL_BASE + number).unwrap_or(1))
}

/// How long something took, as people say it.
pub(crate) fn spoken(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}
