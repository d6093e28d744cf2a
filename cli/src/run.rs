//! `sandgate run`: one command in a conversation's sandbox, from finding the sandbox to storing its files.

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

use crate::args::RunArgs;
use crate::client::Client;
use crate::failure::explain;
use crate::follow::{Lost, follow, inside};
use crate::report::Report;
use crate::signals::Signals;

/// A sandbox that is ending, its last sync included, is gone by then.
const ENDING_LIMIT: Duration = Duration::from_secs(60);
/// What a shell answers for a command that it cannot start.
const EXIT_NOT_STARTED: u8 = 127;
/// The connection to a command broke, so nobody knows how it ends; EX_SOFTWARE of sysexits.
const EXIT_LOST: u8 = 70;
/// What a shell adds to the number of the signal that ended a command.
const EXIT_SIGNAL_BASE: i32 = 128;

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
    let mut signals = Signals::take()?;
    let created = tokio::select! {
        created = create(client, args) => created,
        number = signals.next() => return Ok(interrupted(number)),
    };
    let created = match created {
        Ok(created) => created,
        Err(status) => return Ok(report.failure(&explain(&status))),
    };
    let found = created.sandbox.context("the mesh answered no sandbox")?;
    report.sandbox(&args.conversation, &found, created.created);

    let request = sandbox::RunProcessRequest {
        argv: args.command.clone(),
        environment,
        cwd: args.cwd.clone(),
        stdin: Vec::new(),
        keep_stdin_open: true,
        pty: if args.tty { terminal_size() } else { None },
        timeout: timeout.map(sandgate_api::duration_to),
    };
    let raw = if args.tty {
        crate::terminal::Raw::enter()
    } else {
        None
    };
    let ended = follow(client, &found.sandbox_id, request, &mut signals).await;
    drop(raw);
    let ended = match ended {
        Ok(ended) => ended,
        Err(Lost::NotStarted(status)) => {
            report.failure(&explain(&status));
            return Ok(ExitCode::from(EXIT_NOT_STARTED));
        }
        Err(Lost::Running(status)) => {
            report.failure(&lost(&args.conversation, &status));
            return Ok(ExitCode::from(EXIT_LOST));
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

/// Creates or finds the conversation's sandbox. One that is just being suspended or deleted, as after a crash, is
/// waited for, and so is a
/// service that is just starting: the mesh says how long to.
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

/// What is said when a command was lost from sight.
fn lost(conversation: &str, status: &Status) -> String {
    format!(
        "{}; the command may still run, and its files are not stored yet: look with `sandgate run --conversation \
         {conversation} -- ps -ef`, or store them with `sandgate suspend {conversation}`",
        explain(status)
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_lost_from_sight_is_said_to_run_and_how_to_look() {
        let said = lost("demo", &Status::unavailable("the connection ended"));
        assert!(said.starts_with("the connection ended"), "{said}");
        for part in ["may still run", "--conversation demo --", "suspend demo"] {
            assert!(said.contains(part), "{said}");
        }
    }
}
