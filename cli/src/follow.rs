//! One process in a sandbox, as if it were here: its output, our input, and the signals that we get.

use std::pin::Pin;

use anyhow::Context as _;
use sandgate_api::sandbox::v1 as sandbox;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tonic::{Request, Status};

use crate::client::Client;
use crate::signals::Signals;

/// One message of standard input; a fraction of a message's limit, so that none is refused for its size.
const STDIN_PIECE_BYTES: usize = 256 * 1024;
/// Pieces that wait to be sent.
const STDIN_PIECES: usize = 2;
const SANDBOX_ID: &str = "x-sandbox-id";

/// Addresses a call to a sandbox itself.
pub(crate) fn inside<T>(sandbox_id: &str, message: T) -> anyhow::Result<Request<T>> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(
        SANDBOX_ID,
        sandbox_id
            .parse()
            .context("the mesh answered a strange sandbox id")?,
    );
    Ok(request)
}

/// Why a command was not followed to its end.
pub(crate) enum Lost {
    /// It was not started.
    NotStarted(Status),
    /// It was, and may still run; the connection to it is gone, or its output could not be passed on.
    Running(Status),
}

/// Starts the process, passes its output on as it comes, our input and signals to it, and answers how it ended.
pub(crate) async fn follow(
    client: &Client,
    sandbox_id: &str,
    request: sandbox::RunProcessRequest,
    signals: &mut Signals,
) -> Result<sandbox::ProcessEnded, Lost> {
    let mut process = None;
    let followed = follow_on(client, sandbox_id, request, signals, &mut process).await;
    followed.map_err(|status| match process {
        None => Lost::NotStarted(status),
        Some(_) => Lost::Running(status),
    })
}

async fn follow_on(
    client: &Client,
    sandbox_id: &str,
    request: sandbox::RunProcessRequest,
    signals: &mut Signals,
    process: &mut Option<String>,
) -> Result<sandbox::ProcessEnded, Status> {
    let mut events = client
        .processes()
        .run_process(inside(sandbox_id, request).map_err(broken)?)
        .await?
        .into_inner();
    // Beside the loop and not in it: a process that does not read must still be able to write.
    let mut feeding: Option<Pin<Box<dyn Future<Output = ()> + Send + '_>>> = None;
    loop {
        tokio::select! {
            event = events.message() => match event?.and_then(|message| message.event).and_then(|event| event.event) {
                Some(sandbox::process_event::Event::Started(started)) => {
                    feeding = Some(Box::pin(feed(client, sandbox_id, started.process_id.clone())));
                    *process = Some(started.process_id);
                }
                Some(sandbox::process_event::Event::Stdout(output)) => pass_on(std::io::stdout().lock(), &output.data)?,
                Some(sandbox::process_event::Event::Stderr(output)) => pass_on(std::io::stderr().lock(), &output.data)?,
                Some(sandbox::process_event::Event::Ended(ended)) => return Ok(ended),
                None => return Err(Status::unavailable("the connection ended before the command did")),
            },
            () = poll_some(&mut feeding) => feeding = None,
            number = signals.next() => match &*process {
                Some(process_id) => {
                    let request = sandbox::SignalProcessRequest {
                        process_id: process_id.clone(),
                        signal: number,
                        group: true,
                    };
                    client.processes().signal_process(inside(sandbox_id, request).map_err(broken)?).await?;
                }
                None => return Err(Status::cancelled("interrupted before the command started")),
            },
        }
    }
}

fn broken(error: anyhow::Error) -> Status {
    Status::internal(error.to_string())
}

/// Waits for a future that may not be there; without one, for ever.
async fn poll_some(future: &mut Option<Pin<Box<dyn Future<Output = ()> + Send + '_>>>) {
    match future {
        Some(future) => future.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Passes our standard input on until it ends, or the process does not want it any more.
async fn feed(client: &Client, sandbox_id: &str, process_id: String) {
    let (sender, mut input) = mpsc::channel::<Vec<u8>>(STDIN_PIECES);
    read_stdin(sender);
    loop {
        let piece = input.recv().await;
        let close = piece.is_none();
        let request = sandbox::WriteStdinRequest {
            process_id: process_id.clone(),
            data: piece.unwrap_or_default(),
            close,
        };
        let Ok(request) = inside(sandbox_id, request) else {
            return;
        };
        // A process that has closed its input, or ended, does not want it; its end follows.
        if client.processes().write_stdin(request).await.is_err() || close {
            return;
        }
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

/// Writes what a command wrote, as it comes.
pub(crate) fn pass_on(mut to: impl std::io::Write, data: &[u8]) -> Result<(), Status> {
    to.write_all(data)
        .and_then(|()| to.flush())
        .map_err(|error| Status::cancelled(format!("write output: {error}")))
}
