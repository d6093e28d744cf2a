//! What `sandgate` says about itself: a few lines on standard error, each with a next step where there is one.
//!
//! Standard output belongs to the command that runs in the sandbox.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use sandgate_api::orchestrator::v1 as orchestrator;
use sandgate_api::sandbox::v1 as sandbox;

use crate::client::Client;

/// Where the lines go, and whether any are wanted.
#[derive(Debug)]
pub(crate) struct Report {
    quiet: bool,
    started: tokio::time::Instant,
    /// Whether there is a mesh that goes on after us.
    mesh_stays: bool,
}

impl Report {
    /// A report that starts counting now.
    pub(crate) fn new(quiet: bool) -> Self {
        Self {
            quiet,
            started: tokio::time::Instant::now(),
            mesh_stays: false,
        }
    }

    /// The same, of what is done on this mesh.
    pub(crate) fn on(self, client: &Client) -> Self {
        Self {
            mesh_stays: client.mesh_stays(),
            ..self
        }
    }

    /// Says that something did not work. Said even when quiet.
    pub(crate) fn failure(&self, text: &str) -> ExitCode {
        line(&format!("sandgate: {text}"));
        ExitCode::FAILURE
    }

    /// Says one thing, unless quiet.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet {
            line(&dim(&format!("sandgate: {text}")));
        }
    }

    /// Says which sandbox is used.
    pub(crate) fn sandbox(&self, conversation: &str, found: &orchestrator::Sandbox, created: bool) {
        let what = if created { "new sandbox" } else { "sandbox" };
        let files = if found.workspace_version.is_empty() {
            "no files yet".to_owned()
        } else {
            format!("files of version {}", short(&found.workspace_version))
        };
        self.say(&format!(
            "conversation {conversation}: {what} {}, {files}, ready after {}",
            short(&found.sandbox_id),
            crate::run::spoken(self.started.elapsed()),
        ));
    }

    /// Says how the command ended, where the files are, and what to try next.
    pub(crate) fn ended(
        &self,
        conversation: &str,
        ended: &sandbox::ProcessEnded,
        synced: &sandbox::SyncFilesResponse,
    ) {
        let stored = if synced.version.is_empty() {
            "no files to store".to_owned()
        } else {
            format!("files stored as version {}", short(&synced.version))
        };
        self.say(&format!(
            "{} after {}; {stored}",
            how(ended),
            crate::run::spoken(self.started.elapsed())
        ));
        if synced.skipped > 0 {
            self.say(&format!(
                "{} devices, sockets or pipes were left out",
                synced.skipped
            ));
        }
        self.next(conversation, !synced.version.is_empty());
    }

    /// Says what to try next.
    fn next(&self, conversation: &str, has_files: bool) {
        let us = called();
        let mut steps = Vec::new();
        if has_files {
            steps.push(format!(
                "`{us} run --conversation {conversation} -- ls -l` finds these files again"
            ));
            steps.push(format!(
                "`{us} files {conversation}` reads them without a sandbox"
            ));
        }
        if !self.mesh_stays {
            steps.push(format!("`{us} up` keeps the mesh running for gRPC clients"));
        }
        for (at, step) in steps.iter().enumerate() {
            let lead = if at == 0 { "next:" } else { "     " };
            self.say(&format!("{lead} {step}"));
        }
    }
}

/// How a command ended, in words.
pub(crate) fn how(ended: &sandbox::ProcessEnded) -> String {
    match (ended.timed_out, ended.out_of_memory, &ended.how) {
        (true, _, _) => "killed, since its time was up".to_owned(),
        (_, true, _) => "killed, since it used more memory than the template allows".to_owned(),
        (_, _, Some(sandbox::process_ended::How::ExitCode(code))) => {
            format!("exit code {code}")
        }
        (_, _, Some(sandbox::process_ended::How::Signal(signal))) => {
            format!("ended by signal {signal}")
        }
        (_, _, None) => "ended".to_owned(),
    }
}

/// How we were called, so that a line that names us can be pasted.
pub(crate) fn called() -> String {
    let name = std::env::args_os().next();
    name.map_or_else(
        || "sandgate".to_owned(),
        |name| crate::failure::printable(&name.to_string_lossy()),
    )
}

/// The beginning of an id: enough to tell it from others on a screen.
pub(crate) fn short(id: &str) -> &str {
    id.get(..9).unwrap_or(id)
}

/// One line on standard error. A terminal that is gone does not matter to anybody.
pub(crate) fn line(text: &str) {
    writeln!(std::io::stderr().lock(), "{text}").unwrap_or_default();
}

/// Standard output does not take what is written to it.
#[derive(Debug, thiserror::Error)]
#[error("write to standard output")]
pub(crate) struct Unwritten(#[from] std::io::Error);

impl Unwritten {
    /// Whether nobody reads it any more.
    pub(crate) fn reader_has_gone(&self) -> bool {
        self.0.kind() == std::io::ErrorKind::BrokenPipe
    }
}

/// One line on standard output.
pub(crate) fn print(text: &str) -> Result<(), Unwritten> {
    Ok(writeln!(std::io::stdout().lock(), "{text}")?)
}

/// Bytes on standard output or error, as they come.
pub(crate) fn pass_on(mut to: impl std::io::Write, data: &[u8]) -> Result<(), Unwritten> {
    to.write_all(data)?;
    Ok(to.flush()?)
}

fn dim(text: &str) -> String {
    if std::io::stderr().is_terminal() {
        format!("\u{1b}[2m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}
