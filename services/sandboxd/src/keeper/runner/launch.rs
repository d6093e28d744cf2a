//! Starting and signalling processes, and reaching their ports.

use std::io;
use std::os::fd::OwnedFd;

use prost::Message as _;
use rustix::fs::MemfdFlags;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::{Runner, RunnerError, unexpected};
use crate::keeper::environment::Environment;
use crate::keeper::pipe::Pipe;
use crate::keeper::process::{How, Started};
use crate::protocol::{self, Launch, Launched, Nothing, Outcome, Request, Terminal, Why};

/// SIGKILL, by its number, which is part of the kernel's interface.
const KILL: i32 = 9;

/// The size of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// Rows.
    pub(crate) rows: u16,
    /// Columns.
    pub(crate) columns: u16,
}

impl Runner {
    /// Starts a process; the receiver hears how it ended.
    ///
    /// # Errors
    /// [`RunnerError`]; then nothing runs.
    pub(crate) async fn launch(
        &self,
        argv: Vec<String>,
        environment: &Environment,
        cwd: String,
        terminal: Option<Size>,
        wants_stdin: bool,
    ) -> Result<(Started, oneshot::Receiver<How>), RunnerError> {
        let terminal = terminal.map(|size| Terminal {
            rows: size.rows.into(),
            columns: size.columns.into(),
        });
        let environment = environment
            .pairs()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut launch = Launch {
            argv,
            environment,
            cwd,
            terminal,
            stdin: wants_stdin,
        };
        let description = Zeroizing::new(launch.encode_to_vec());
        for mut entry in launch.environment.drain(..) {
            zeroize::Zeroize::zeroize(&mut entry);
        }
        let memory = memory_file(&description).map_err(|_| RunnerError::Failed(Why::Crowded))?;
        let (exit, exited) = oneshot::channel();
        let (id, answered) = self
            .begin(Request::Launch(Nothing {}), &[memory], Some(exit))
            .await?;
        let started = match answered.await {
            Ok((Outcome::Launched(Launched { pid }), descriptors)) => {
                started(id, pid, terminal.is_some(), descriptors)
            }
            Ok((other, _)) => Err(unexpected(other)),
            Err(_) => Err(RunnerError::Gone),
        };
        if started.is_err() {
            self.waiting.never_began(id);
            self.kills.forget(id);
        }
        Ok((started?, exited))
    }

    /// Sends a signal; `false` when the process has ended.
    ///
    /// # Errors
    /// [`RunnerError`].
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "any other answer is one that was not asked for"
    )]
    pub(crate) async fn signal(
        &self,
        process: u64,
        signal: i32,
        group: bool,
    ) -> Result<bool, RunnerError> {
        if signal == KILL {
            self.kills.forget(process);
        }
        let request = Request::Signal(protocol::Signal {
            process,
            signal,
            group,
        });
        match self.ask(request, &[]).await?.1.0 {
            Outcome::Signalled(sent) => Ok(sent),
            other => Err(unexpected(other)),
        }
    }

    /// Kills everything but the runner.
    ///
    /// # Errors
    /// [`RunnerError`].
    pub(crate) async fn kill_all(&self) -> Result<(), RunnerError> {
        self.kills.forget_all();
        self.ask_done(Request::KillAll(Nothing {})).await
    }

    /// Connects to a port of the sandbox's loopback.
    ///
    /// # Errors
    /// [`Why::Refused`] when nothing listens there.
    pub(crate) async fn dial(&self, port: u16) -> Result<TcpStream, RunnerError> {
        let (_, descriptor) = self.ask_descriptor(Request::Dial(port.into())).await?;
        let stream = std::net::TcpStream::from(descriptor);
        let waitable = stream
            .set_nonblocking(true)
            .and_then(|()| TcpStream::from_std(stream));
        let stream = waitable.map_err(|_| RunnerError::Senseless)?;
        stream
            .writable()
            .await
            .map_err(|_| RunnerError::Senseless)?;
        match stream.take_error() {
            Ok(None) => Ok(stream),
            Ok(Some(_)) | Err(_) => Err(RunnerError::Failed(Why::Refused)),
        }
    }
}

/// What the runner handed over of a process.
fn started(
    handle: u64,
    pid: u32,
    terminal: bool,
    descriptors: Vec<OwnedFd>,
) -> Result<Started, RunnerError> {
    let mut pipes = Vec::with_capacity(descriptors.len());
    for descriptor in descriptors {
        pipes.push(Pipe::new(descriptor, terminal).map_err(|_| RunnerError::Senseless)?);
    }
    let mut pipes = pipes.into_iter();
    let stdout = pipes.next().ok_or(RunnerError::Senseless)?;
    let (stderr, stdin) = (pipes.next(), pipes.next());
    if pipes.next().is_some() || terminal != stderr.is_none() {
        return Err(RunnerError::Senseless);
    }
    Ok(Started {
        handle,
        pid,
        stdin,
        stdout,
        stderr,
    })
}

/// A file without a name that holds `bytes`, read from the beginning.
fn memory_file(bytes: &[u8]) -> io::Result<OwnedFd> {
    use std::io::{Seek as _, Write as _};
    let mut file = std::fs::File::from(rustix::fs::memfd_create("launch", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}
