//! One process in a sandbox, as if it were here: its output, our input, and the signals that we get.

use std::convert::Infallible;
use std::io::Write;
use std::pin::pin;

use anyhow::Context as _;
use sandgate_api::sandbox::v1 as sandbox;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Status};

use crate::client::Client;
use crate::report::{Unwritten, line, pass_on};
use crate::signals::{Signals, at_once};

/// One message of standard input; a fraction of a message's limit, so that none is refused for its size.
const STDIN_PIECE_BYTES: usize = 256 * 1024;
/// Pieces that wait to be sent.
const STDIN_PIECES: usize = 2;
const SANDBOX_ID: &str = "x-sandbox-id";
const SIGKILL: i32 = 9;
const SIGPIPE: i32 = 13;

/// Addresses calls to one sandbox itself.
pub(crate) struct Inside {
    id: MetadataValue<Ascii>,
}

impl Inside {
    /// The sandbox of this id.
    pub(crate) fn of(sandbox_id: &str) -> anyhow::Result<Self> {
        let id = sandbox_id
            .parse()
            .context("the mesh answered a strange sandbox id")?;
        Ok(Self { id })
    }

    /// A call to it.
    pub(crate) fn call<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert(SANDBOX_ID, self.id.clone());
        request
    }
}

/// A command that was followed to its end.
pub(crate) struct Followed {
    /// How it ended.
    pub(crate) ended: sandbox::ProcessEnded,
    /// Why not all that it wrote was passed on, where it was not.
    pub(crate) unwritten: Option<Unwritten>,
}

/// Why a command was not followed to its end.
pub(crate) enum Lost {
    /// It was not started.
    NotStarted(Cause),
    /// This signal came before it was known to be started, and another before it.
    Interrupted(i32),
    /// It was started, and may still run; what connected us to it is gone.
    Running(Cause),
}

/// What ended the following.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    /// The mesh refused.
    #[error(transparent)]
    Answer(Status),
    /// The connection ended or broke.
    #[error("the connection ended before the command did")]
    Silence,
}

impl From<Status> for Cause {
    fn from(status: Status) -> Self {
        // What a server answers has no source: this one was made here, of a connection that broke.
        if std::error::Error::source(&status).is_some() {
            Self::Silence
        } else {
            Self::Answer(status)
        }
    }
}

/// Starts the process, passes its output on as it comes, our input and signals to it, and answers how it ended. The
/// second signal kills it, and the third ends us.
pub(crate) async fn follow(
    client: &Client,
    inside: &Inside,
    request: sandbox::RunProcessRequest,
    signals: &mut Signals,
) -> Result<Followed, Lost> {
    let starting = async {
        let answer = client.processes().run_process(inside.call(request)).await?;
        let mut events = answer.into_inner();
        match next(&mut events).await? {
            sandbox::process_event::Event::Started(started) => Ok((events, started.process_id)),
            // The first event is this one, whoever serves; anything else is no start that we know.
            sandbox::process_event::Event::Stdout(_)
            | sandbox::process_event::Event::Stderr(_)
            | sandbox::process_event::Event::Ended(_) => Err(Cause::Silence),
        }
    };
    let mut starting = pin!(starting);
    let mut early = None;
    let started = loop {
        tokio::select! {
            started = &mut starting => break started,
            number = signals.next() => {
                if early.replace(number).is_some() {
                    return Err(Lost::Interrupted(number));
                }
                line("sandgate: the command is told once it has started; once more Ctrl-C ends at once");
            }
        }
    };
    let (events, id) = started.map_err(Lost::NotStarted)?;
    let process = Process { client, inside, id };
    let followed = process.follow(events, signals, early).await;
    followed.map_err(Lost::Running)
}

type Events = tonic::Streaming<sandbox::RunProcessResponse>;

async fn next(events: &mut Events) -> Result<sandbox::process_event::Event, Cause> {
    let message = events.message().await?;
    message
        .and_then(|message| message.event)
        .and_then(|event| event.event)
        .ok_or(Cause::Silence)
}

/// A process that was started.
struct Process<'a> {
    client: &'a Client,
    inside: &'a Inside,
    id: String,
}

impl Process<'_> {
    async fn follow(
        &self,
        events: Events,
        signals: &mut Signals,
        early: Option<i32>,
    ) -> Result<Followed, Cause> {
        let feeding = async {
            self.feed().await;
            pending().await
        };
        // Beside each other: a process that does not read must still be able to write, and one whose output nobody
        // takes must still be told to end.
        tokio::select! {
            followed = self.pass_on_all(events) => followed,
            never = self.pass_signals_on(signals, early) => match never {},
            never = feeding => match never {},
        }
    }

    /// Passes on what it writes, until it ends.
    async fn pass_on_all(&self, mut events: Events) -> Result<Followed, Cause> {
        let mut stdout = Output::to(std::io::stdout);
        let mut stderr = Output::to(std::io::stderr);
        loop {
            let has_broken = match next(&mut events).await? {
                // It is known to be.
                sandbox::process_event::Event::Started(_) => false,
                sandbox::process_event::Event::Stdout(output) => {
                    stdout.breaks_at(output.data).await
                }
                sandbox::process_event::Event::Stderr(output) => {
                    stderr.breaks_at(output.data).await
                }
                sandbox::process_event::Event::Ended(ended) => {
                    let unwritten = stdout.broken.or(stderr.broken);
                    return Ok(Followed { ended, unwritten });
                }
            };
            if has_broken {
                self.signal(SIGPIPE).await;
            }
        }
    }

    /// Each of them is heard, whether or not the one before has reached the process. The first may have come early.
    async fn pass_signals_on(&self, signals: &mut Signals, early: Option<i32>) -> Infallible {
        let first = match early {
            Some(number) => number,
            None => signals.next().await,
        };
        line("sandgate: told the command; once more Ctrl-C kills it");
        self.tell_until_next(first, signals).await;
        line("sandgate: killed the command; once more Ctrl-C ends at once and stores nothing");
        self.tell_until_next(SIGKILL, signals).await;
        at_once()
    }

    async fn tell_until_next(&self, number: i32, signals: &mut Signals) {
        let telling = async {
            self.signal(number).await;
            pending().await
        };
        tokio::select! {
            never = telling => match never {},
            _next = signals.next() => {}
        }
    }

    /// Tells it and what it started, as a terminal would.
    async fn signal(&self, number: i32) {
        let request = sandbox::SignalProcessRequest {
            process_id: self.id.clone(),
            signal: number,
            group: true,
        };
        let request = self.inside.call(request);
        // One that has just ended cannot be told; the events say so, and whether they can still come.
        let _told = self.client.processes().signal_process(request).await;
    }

    /// Passes our standard input on until it ends, or the process does not want it any more.
    async fn feed(&self) {
        let (sender, mut input) = mpsc::channel::<Vec<u8>>(STDIN_PIECES);
        read_stdin(sender);
        loop {
            let piece = input.recv().await;
            let close = piece.is_none();
            let request = sandbox::WriteStdinRequest {
                process_id: self.id.clone(),
                data: piece.unwrap_or_default(),
                close,
            };
            let request = self.inside.call(request);
            // A process that has closed its input, or ended, does not want it; its end follows.
            if self.client.processes().write_stdin(request).await.is_err() || close {
                return;
            }
        }
    }
}

/// One of our streams, to which a command's output goes until it takes no more.
struct Output<W> {
    to: fn() -> W,
    broken: Option<Unwritten>,
}

impl<W: Write + 'static> Output<W> {
    fn to(to: fn() -> W) -> Self {
        Self { to, broken: None }
    }

    /// Passes a piece on, and says whether the stream broke at it. What comes later is dropped, so that a command
    /// which does not end of it is not stopped by it either. Whoever reads may take his time: a thread waits for him.
    async fn breaks_at(&mut self, data: impl AsRef<[u8]> + Send + 'static) -> bool {
        if self.broken.is_some() {
            return false;
        }
        let to = self.to;
        let passing = tokio::task::spawn_blocking(move || pass_on(to(), data.as_ref()));
        let passed = passing.await.map_err(std::io::Error::other);
        self.broken = passed.map_err(Unwritten::from).flatten().err();
        self.broken.is_some()
    }
}

/// Never ends.
async fn pending() -> Infallible {
    std::future::pending().await
}

/// Reads standard input until it ends, on a thread of tokio's that nothing waits for.
#[expect(
    clippy::disallowed_methods,
    reason = "a blocked read of a terminal cannot be joined; it ends with the process"
)]
fn read_stdin(sender: mpsc::Sender<Vec<u8>>) {
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
