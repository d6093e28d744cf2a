//! One process of the agent: what it writes, what it reads, and how it ended.
//!
//! Its end is what the runner reports for exactly this process. Whatever was in its pipes at that moment is
//! still read, and then the answer is complete, though descendants may hold the pipes open for ever; what
//! they write later is read and thrown away, so that they do not die of it.

mod outputs;
mod pump;
mod reader;

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use sandgate_rpc::Shutdown;
use sandgate_types::Timestamp;
use tokio::sync::{Semaphore, watch};

use super::pipe::Pipe;
use super::ring::{NotKept, RingKey, Stream};

pub(crate) use self::outputs::Outputs;
pub(crate) use self::reader::{Event, Reader};

/// What ends the input of a terminal: control-D, as a person would.
const END_OF_TRANSMISSION: &[u8] = b"\x04";

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
}

/// How a process ended, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// How.
    pub(crate) how: How,
    /// Whether its timeout was the cause.
    pub(crate) timed_out: bool,
    /// Whether the memory bound was the cause.
    pub(crate) out_of_memory: bool,
}

/// What the runner hands over of a process that it started.
#[derive(Debug)]
pub(crate) struct Started {
    /// By which the runner knows it.
    pub(crate) handle: u64,
    /// Its number inside the sandbox.
    pub(crate) pid: u32,
    /// Where its input is written.
    pub(crate) stdin: Option<Pipe>,
    /// Where its output comes from, or its terminal.
    pub(crate) stdout: Pipe,
    /// Where its errors come from; a terminal has no such thing.
    pub(crate) stderr: Option<Pipe>,
}

/// How far a process is. It only ever moves down this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Running,
    /// It ended; its pipes may still hold what it wrote.
    Ended,
    /// What it wrote was read.
    Drained,
    /// Nobody can ask for it any more.
    Forgotten,
}

/// A process.
#[derive(Debug)]
pub(crate) struct Process {
    /// By which the runner knows it.
    pub(crate) handle: u64,
    /// Its number inside the sandbox.
    pub(crate) pid: u32,
    /// The program as it was named.
    pub(crate) program: String,
    /// When it was started.
    pub(crate) started_at: Timestamp,
    outputs: Arc<Outputs>,
    ring: RingKey,
    stage: watch::Sender<Stage>,
    /// Rung when output was added.
    written: watch::Sender<()>,
    end: Mutex<Option<End>>,
    timed_out: Mutex<bool>,
    stdin: Mutex<Option<Arc<Pipe>>>,
    /// Whose turn it is to write, in order of asking.
    stdin_turn: Semaphore,
    terminal: Option<Pipe>,
    /// Streams that may still hold output.
    draining: Mutex<usize>,
    /// How much it wrote in all, once it is forgotten.
    total: Mutex<Option<u64>>,
}

/// Why input was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StdinError {
    /// It was closed, by a caller, the process or its end.
    #[error("standard input is closed")]
    Closed,
    /// The kernel refused.
    #[error("standard input could not be written")]
    Io(#[source] io::Error),
}

impl Process {
    /// Takes over a process that was started, and reads what it writes from here on.
    ///
    /// # Errors
    /// When there are no descriptors left for its terminal.
    pub(crate) fn adopt(
        started: Started,
        program: String,
        started_at: Timestamp,
        outputs: Arc<Outputs>,
        tasks: &Shutdown,
    ) -> io::Result<Arc<Self>> {
        let Started {
            handle,
            pid,
            stdin,
            stdout,
            stderr,
        } = started;
        let terminal = if stdout.is_terminal() {
            Some(stdout.again()?)
        } else {
            None
        };
        let stdin = match (&terminal, stdin) {
            (Some(terminal), None) => Some(terminal.again()?),
            (_, stdin) => stdin,
        };
        let ring = outputs.rings.lock().open();
        let process = Arc::new(Self {
            handle,
            pid,
            program,
            started_at,
            outputs,
            ring,
            stage: watch::Sender::new(Stage::Running),
            written: watch::Sender::new(()),
            end: Mutex::new(None),
            timed_out: Mutex::new(false),
            stdin: Mutex::new(stdin.map(Arc::new)),
            stdin_turn: Semaphore::new(1),
            terminal,
            draining: Mutex::new(1 + usize::from(stderr.is_some())),
            total: Mutex::new(None),
        });
        tasks.spawn_apart("stdout", Arc::clone(&process).pump(Stream::Stdout, stdout));
        if let Some(stderr) = stderr {
            tasks.spawn_apart("stderr", Arc::clone(&process).pump(Stream::Stderr, stderr));
        }
        Ok(process)
    }

    /// Notes how the process ended. Only the first time counts.
    pub(crate) fn ended(&self, how: How, out_of_memory: bool) {
        let timed_out = *self.timed_out.lock() && matches!(how, How::Signalled(_));
        self.end.lock().get_or_insert(End {
            how,
            timed_out,
            out_of_memory,
        });
        self.advance(Stage::Ended);
        self.stdin.lock().take();
    }

    /// Notes that the process is killed because its time is up; `false` when it has ended.
    pub(crate) fn time_is_up(&self) -> bool {
        let runs = self.end().is_none();
        if runs {
            *self.timed_out.lock() = true;
        }
        runs
    }

    /// How it ended; `None` while it runs.
    pub(crate) fn end(&self) -> Option<End> {
        *self.end.lock()
    }

    /// Waits until it has ended.
    pub(crate) async fn wait(&self) -> Option<End> {
        self.at_least(Stage::Ended).await;
        self.end()
    }

    /// Waits until it has ended and what it wrote was read.
    pub(crate) async fn wait_drained(&self) {
        self.at_least(Stage::Drained).await;
    }

    /// Ends what still goes on for it, when nobody can ask for it any more.
    pub(crate) fn forget(&self) {
        let total = self.output_bytes();
        self.total.lock().get_or_insert(total);
        self.advance(Stage::Forgotten);
        self.outputs.rings.lock().close(self.ring);
        self.outputs.ring_bell();
    }

    /// How much it wrote.
    pub(crate) fn output_bytes(&self) -> u64 {
        self.outputs.rings.lock().written(self.ring)
    }

    /// The last of what it wrote.
    pub(crate) fn tail(&self, count: usize) -> Vec<u8> {
        self.outputs.rings.lock().tail(self.ring, count)
    }

    /// Reads along from `offset` on.
    ///
    /// # Errors
    /// [`NotKept`].
    pub(crate) fn read_from(self: &Arc<Self>, offset: u64) -> Result<Reader, NotKept> {
        let key = self.outputs.rings.lock().attach(self.ring, offset)?;
        Ok(Reader {
            process: Arc::clone(self),
            key,
            position: offset,
        })
    }

    /// Writes input and waits until the process has room for it; then closes it where asked.
    ///
    /// # Errors
    /// [`StdinError`].
    pub(crate) async fn write_stdin(&self, data: &[u8], close: bool) -> Result<(), StdinError> {
        let Ok(_turn) = self.stdin_turn.acquire().await else {
            return Err(StdinError::Closed);
        };
        let stdin = self.stdin.lock().clone().ok_or(StdinError::Closed)?;
        let written = tokio::select! {
            written = stdin.write_all(data) => written,
            () = self.at_least(Stage::Ended) => return Err(StdinError::Closed),
        };
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.stdin.lock().take();
                return Err(StdinError::Closed);
            }
            Err(error) => return Err(StdinError::Io(error)),
        }
        if close {
            if stdin.is_terminal() {
                stdin
                    .write_all(END_OF_TRANSMISSION)
                    .await
                    .map_err(StdinError::Io)?;
            } else {
                self.stdin.lock().take();
            }
        }
        Ok(())
    }

    /// Sets the size of its terminal; `None` when it has none.
    pub(crate) fn resize(&self, rows: u16, columns: u16) -> Option<io::Result<()>> {
        self.terminal
            .as_ref()
            .map(|terminal| terminal.resize(rows, columns))
    }

    async fn at_least(&self, stage: Stage) {
        // The sender is `self`, so waiting cannot fail while anybody waits.
        let mut stages = self.stage.subscribe();
        let _reached = stages.wait_for(|now| *now >= stage).await;
    }

    fn advance(&self, stage: Stage) {
        self.stage.send_if_modified(|now| {
            let further = *now < stage;
            if further {
                *now = stage;
            }
            further
        });
    }
}
