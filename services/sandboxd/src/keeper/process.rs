//! One process of the agent: what it writes, what it reads, and how it ended.
//!
//! Its end is what the runner reports for exactly this process. Whatever was in its pipes at that moment is
//! still read, and then the answer is complete, though descendants may hold the pipes open for ever; what
//! they write later is read and thrown away, so that they do not die of it.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use sandgate_rpc::Shutdown;
use sandgate_types::Timestamp;
use tokio::sync::{Semaphore, watch};

use super::pipe::Pipe;
use super::ring::{NotKept, PIECE_MAX_BYTES, Piece, ReaderKey, RingKey, Rings, Stream};

/// What ends the input of a terminal: control-D, as a person would.
const END_OF_TRANSMISSION: &[u8] = b"\x04";
/// What is read at a time once nobody wants it any more.
const DISCARD_BYTES: usize = 4 * 1024;

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

/// The rings of the sandbox, and a bell for whoever waits for room in them.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    rings: Mutex<Rings>,
    room: watch::Sender<()>,
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

/// Somebody who reads along. While it exists the process waits for it rather than lose output.
#[derive(Debug)]
pub(crate) struct Reader {
    process: Arc<Process>,
    key: ReaderKey,
    position: u64,
}

/// What a reader sees.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// It wrote.
    Output(Piece),
    /// It ended, and all that it wrote was seen.
    Ended(End),
    /// It ended so long ago that the rest of its output was given up.
    Forgotten,
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

// === impl Outputs ===

impl Outputs {
    fn ring_bell(&self) {
        self.room.send_replace(());
    }

    /// Waits until the ring takes something, and answers how much.
    async fn room(&self, key: RingKey) -> usize {
        let mut bell = self.room.subscribe();
        loop {
            bell.mark_unchanged();
            let room = self.rings.lock().room(key);
            if room > 0 {
                return room;
            }
            // The sender is `self`, so this waits.
            let _rung = bell.changed().await;
        }
    }
}

// === impl Process ===

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
        tasks.spawn("stdout", Arc::clone(&process).pump(Stream::Stdout, stdout));
        if let Some(stderr) = stderr {
            tasks.spawn("stderr", Arc::clone(&process).pump(Stream::Stderr, stderr));
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

    /// Reads one stream for as long as anybody could want it.
    async fn pump(self: Arc<Self>, stream: Stream, pipe: Pipe) {
        let open = self.pump_while_running(stream, &pipe).await;
        if open {
            self.pump_rest(stream, &pipe).await;
        }
        self.stream_drained().await;
        if open {
            tokio::select! {
                () = discard(&pipe) => {}
                () = self.at_least(Stage::Forgotten) => {}
            }
        }
    }

    /// Reads until the process ends or the stream does; `true` when the stream is still open.
    async fn pump_while_running(&self, stream: Stream, pipe: &Pipe) -> bool {
        loop {
            let there_is_something = async {
                self.outputs.room(self.ring).await;
                pipe.readable().await
            };
            let ready = tokio::select! {
                ready = there_is_something => ready,
                () = self.at_least(Stage::Ended) => return true,
            };
            match ready.and_then(|()| self.move_some(stream, pipe, PIECE_MAX_BYTES)) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    tracing::debug!(%error, "the output of a process could not be read");
                    return false;
                }
            }
        }
    }

    /// Reads what the stream held when the process ended, and no more.
    async fn pump_rest(&self, stream: Stream, pipe: &Pipe) {
        let mut left = pipe.waiting();
        while left > 0 {
            tokio::select! {
                _ = self.outputs.room(self.ring) => {}
                () = self.at_least(Stage::Forgotten) => return,
            }
            match self.move_some(stream, pipe, left) {
                Ok(0) | Err(_) => return,
                Ok(count) => left -= count,
            }
        }
    }

    /// Moves what there is into the ring, as much as it takes now. No await lies between asking the ring and
    /// filling it, so the other stream cannot take the room meanwhile.
    fn move_some(&self, stream: Stream, pipe: &Pipe, most: usize) -> io::Result<usize> {
        let mut rings = self.outputs.rings.lock();
        let room = rings.room(self.ring).min(most);
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let data = pipe.try_read(room)?;
        rings.push(self.ring, stream, &data);
        drop(rings);
        self.written.send_replace(());
        Ok(data.len())
    }

    /// One of the streams has nothing more; the last of them says that the answer is complete.
    async fn stream_drained(&self) {
        let last = {
            let mut draining = self.draining.lock();
            *draining = draining.saturating_sub(1);
            *draining == 0
        };
        if last {
            // Both streams can be closed long before the process ends.
            self.at_least(Stage::Ended).await;
            self.advance(Stage::Drained);
        }
    }
}

/// Reads and throws away, until nobody can write any more.
async fn discard(pipe: &Pipe) {
    loop {
        if pipe.readable().await.is_err() {
            return;
        }
        match pipe.try_read(DISCARD_BYTES) {
            Ok(data) if data.is_empty() => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

// === impl Reader ===

impl Reader {
    /// The next thing that the process did; waits for it.
    pub(crate) async fn next(&mut self) -> Event {
        let process = &self.process;
        let mut written = process.written.subscribe();
        let mut stage = process.stage.subscribe();
        loop {
            written.mark_unchanged();
            // The stage is looked at before the ring: what was written before it is in the ring by now.
            let now = *stage.borrow_and_update();
            let piece = process.outputs.rings.lock().read(process.ring, self.key);
            if let Some(piece) = piece {
                process.outputs.ring_bell();
                self.position = piece.offset + piece.data.len() as u64;
                return Event::Output(piece);
            }
            let complete = match now {
                Stage::Running | Stage::Ended => None,
                Stage::Drained => Some(true),
                Stage::Forgotten => Some(*process.total.lock() == Some(self.position)),
            };
            match (complete, process.end()) {
                (Some(true), Some(end)) => return Event::Ended(end),
                (Some(_), _) => return Event::Forgotten,
                (None, _) => {}
            }
            // Both senders are in the process, so this waits.
            tokio::select! {
                _ = written.changed() => {}
                _ = stage.changed() => {}
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.process
            .outputs
            .rings
            .lock()
            .detach(self.process.ring, self.key);
        self.process.outputs.ring_bell();
    }
}
