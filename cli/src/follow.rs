//! One process in a sandbox, as if it were here: its output, our input, and the signals that we get.

use std::io::Write;
use std::pin::Pin;

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
    /// This signal came before it was.
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
    let (events, id) = tokio::select! {
        started = starting => started.map_err(Lost::NotStarted)?,
        number = signals.next() => return Err(Lost::Interrupted(number)),
    };
    let process = Process { client, inside, id };
    process.follow(events, signals).await.map_err(Lost::Running)
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
    async fn follow(&self, mut events: Events, signals: &mut Signals) -> Result<Followed, Cause> {
        // Beside the loop and not in it: a process that does not read must still be able to write.
        let feeding = self.feed();
        let mut feeding: Option<Pin<Box<dyn Future<Output = ()> + Send + '_>>> =
            Some(Box::pin(feeding));
        let mut stdout = Output::to(std::io::stdout());
        let mut stderr = Output::to(std::io::stderr());
        let mut told = 0_u8;
        loop {
            tokio::select! {
                event = next(&mut events) => match event? {
                    // It is known to be.
                    sandbox::process_event::Event::Started(_) => {}
                    sandbox::process_event::Event::Stdout(output) => {
                        if stdout.breaks_at(&output.data) {
                            self.signal(SIGPIPE).await;
                        }
                    }
                    sandbox::process_event::Event::Stderr(output) => {
                        if stderr.breaks_at(&output.data) {
                            self.signal(SIGPIPE).await;
                        }
                    }
                    sandbox::process_event::Event::Ended(ended) => {
                        let unwritten = stdout.broken.or(stderr.broken);
                        return Ok(Followed { ended, unwritten });
                    }
                },
                () = poll_some(&mut feeding) => feeding = None,
                number = signals.next() => {
                    told += 1;
                    match told {
                        1 => {
                            line("sandgate: told the command; once more Ctrl-C kills it");
                            self.signal(number).await;
                        }
                        2 => {
                            line("sandgate: killed the command; once more Ctrl-C ends at once and stores nothing");
                            self.signal(SIGKILL).await;
                        }
                        _ => at_once(),
                    }
                }
            }
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
    to: W,
    broken: Option<Unwritten>,
}

impl<W: Write> Output<W> {
    fn to(to: W) -> Self {
        Self { to, broken: None }
    }

    /// Passes a piece on, and says whether the stream broke at it. What comes later is dropped, so that a command
    /// which does not end of it is not stopped by it either.
    fn breaks_at(&mut self, data: &[u8]) -> bool {
        if self.broken.is_some() {
            return false;
        }
        self.broken = pass_on(&mut self.to, data).err();
        self.broken.is_some()
    }
}

/// Waits for a future that may not be there; without one, for ever.
async fn poll_some(future: &mut Option<Pin<Box<dyn Future<Output = ()> + Send + '_>>>) {
    match future {
        Some(future) => future.as_mut().await,
        None => std::future::pending().await,
    }
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
