//! The keeper's end of the connection to the runner: one request, one answer, and the ends of processes.
//!
//! The runner is as trustworthy as the agent. Whatever it answers is bounded, parsed and checked before
//! anything here relies on it, and a descriptor of it is of the kind that was asked for or is refused.

mod file;
mod launch;
mod stream;
mod tree;

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use parking_lot::Mutex;
use prost::Message as _;
use sandgate_session::packet;
use tokio::io::unix::AsyncFd;
use tokio::sync::{oneshot, watch};

use super::kills::Kills;
use super::pipe::watched;
use super::process::How;
use crate::protocol::{
    self, Answer, Event, Exited, Failure, Hello, Info, Nothing, Outcome, Request, ToRunner, Unsent,
    Why,
};

pub(crate) use launch::Size;
pub(crate) use stream::{ApplyStream, WatchStream};

/// Why the runner did not do something.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunnerError {
    /// It is gone, and the sandbox with it.
    #[error("the runner is gone")]
    Gone,
    /// It could not, for this reason.
    #[error("the runner could not: {0}")]
    Failed(Why),
    /// It answered something that is no answer to what was asked.
    #[error("the runner's answer makes no sense")]
    Senseless,
}

/// What the runner says first.
#[derive(Debug)]
pub(crate) struct Greeting {
    /// The agent's listener.
    pub(crate) listener: TcpListener,
    /// Ways out that are open.
    pub(crate) open_ways: Vec<String>,
}

type Answered = (Outcome, Vec<OwnedFd>);

/// Who waits for what.
#[derive(Debug, Default)]
struct Waiting {
    last_id: u64,
    answers: BTreeMap<u64, oneshot::Sender<Answered>>,
    exits: BTreeMap<u64, oneshot::Sender<How>>,
    /// Requests whose asker left; what they began is given up.
    abandoned: Vec<u64>,
    gone: bool,
}

/// The connection to the runner.
#[derive(Debug)]
pub(crate) struct Runner {
    socket: AsyncFd<OwnedFd>,
    waiting: Mutex<Waiting>,
    /// Why processes ended.
    pub(crate) kills: Kills,
    gone: watch::Sender<bool>,
}

impl Runner {
    /// Takes the socket that the keeper was started with, and waits for the runner's greeting.
    ///
    /// # Errors
    /// When the runner is not there or says something else first.
    pub(crate) async fn greet(socket: OwnedFd, kills: Kills) -> io::Result<(Arc<Self>, Greeting)> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let socket = watched(socket)?;
        let first = socket
            .async_io(tokio::io::Interest::READABLE, |socket| {
                protocol::receive_event(socket)
            })
            .await?;
        let Some((Event::Hello(Hello { open_ways }), descriptors)) = first else {
            return Err(protocol::no_message());
        };
        let [listener] =
            <[OwnedFd; 1]>::try_from(descriptors).map_err(|_| protocol::no_message())?;
        let listener = TcpListener::from(listener);
        listener.set_nonblocking(true)?;
        let runner = Self {
            socket,
            waiting: Mutex::default(),
            kills,
            gone: watch::Sender::new(false),
        };
        Ok((
            Arc::new(runner),
            Greeting {
                listener,
                open_ways,
            },
        ))
    }

    /// Hands out what the runner says, until it is gone.
    pub(crate) async fn listen(self: Arc<Self>) {
        loop {
            match self
                .socket
                .async_io(tokio::io::Interest::READABLE, |socket| {
                    protocol::receive_event(socket)
                })
                .await
            {
                Ok(Some((event, descriptors))) => self.hear(event, descriptors),
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "the connection to the runner broke");
                    break;
                }
            }
        }
        let mut waiting = self.waiting.lock();
        waiting.gone = true;
        waiting.answers.clear();
        waiting.exits.clear();
        drop(waiting);
        self.gone.send_replace(true);
    }

    /// Ends when the runner is gone.
    pub(crate) async fn gone(&self) {
        // The sender is `self`, so waiting cannot fail while anybody waits.
        let mut news = self.gone.subscribe();
        let _gone = news.wait_for(|gone| *gone).await;
    }

    fn hear(&self, event: Event, descriptors: Vec<OwnedFd>) {
        match event {
            Event::Answer(Answer {
                id,
                outcome: Some(outcome),
            }) => {
                let mut waiting = self.waiting.lock();
                // An answer that nobody asked for is dropped, with what came beside it.
                let Some(asker) = waiting.answers.remove(&id) else {
                    return;
                };
                if asker.send((outcome, descriptors)).is_err() {
                    waiting.abandoned.push(id);
                }
            }
            Event::Exited(Exited {
                process,
                signal,
                code,
            }) => {
                let how = if signal == 0 {
                    How::Exited(code)
                } else {
                    How::Signalled(signal)
                };
                let asker = self.waiting.lock().exits.remove(&process);
                // Who was never told of the process does not wait for its end.
                if let Some(asker) = asker {
                    let _nobody = asker.send(how);
                }
            }
            Event::Hello(_) | Event::Answer(Answer { outcome: None, .. }) => {
                tracing::debug!("the runner said something that is no answer");
            }
        }
    }

    /// Asks, and waits for the answer.
    async fn ask(
        &self,
        request: Request,
        descriptors: &[OwnedFd],
    ) -> Result<(u64, Answered), RunnerError> {
        let (id, answered) = self.begin(request, descriptors, None).await?;
        let answered = answered.await.map_err(|_| RunnerError::Gone)?;
        Ok((id, answered))
    }

    async fn begin(
        &self,
        request: Request,
        descriptors: &[OwnedFd],
        exit: Option<oneshot::Sender<How>>,
    ) -> Result<(u64, oneshot::Receiver<Answered>), RunnerError> {
        let (answer, answered) = oneshot::channel();
        let (id, abandoned) = {
            let mut waiting = self.waiting.lock();
            if waiting.gone {
                return Err(RunnerError::Gone);
            }
            waiting.last_id += 1;
            let id = waiting.last_id;
            waiting.answers.insert(id, answer);
            if let Some(exit) = exit {
                self.kills.begin(id);
                waiting.exits.insert(id, exit);
            }
            (id, std::mem::take(&mut waiting.abandoned))
        };
        let sent = self.send_all(id, request, descriptors, abandoned).await;
        if sent.is_err() {
            // Nobody will answer.
            let mut waiting = self.waiting.lock();
            waiting.answers.remove(&id);
            if waiting.exits.remove(&id).is_some() {
                self.kills.forget(id);
            }
        }
        sent.map(|()| (id, answered))
    }

    async fn send_all(
        &self,
        id: u64,
        request: Request,
        descriptors: &[OwnedFd],
        abandoned: Vec<u64>,
    ) -> Result<(), RunnerError> {
        let mut abandoned = abandoned.into_iter();
        while let Some(file) = abandoned.next() {
            let request = ToRunner {
                id: 0,
                request: Some(Request::Abandon(file)),
            };
            if let Err(error) = self.send(&request, &[]).await {
                let left = std::iter::once(file).chain(abandoned);
                self.waiting.lock().abandoned.extend(left);
                return Err(error);
            }
        }
        let request = ToRunner {
            id,
            request: Some(request),
        };
        self.send(&request, descriptors).await
    }

    async fn send(&self, message: &ToRunner, descriptors: &[OwnedFd]) -> Result<(), RunnerError> {
        let bytes = message.encode_to_vec();
        let borrowed: Vec<_> = descriptors.iter().map(std::os::fd::AsFd::as_fd).collect();
        let sent = self
            .socket
            .async_io(tokio::io::Interest::WRITABLE, |socket| {
                packet::send(socket, &bytes, &borrowed)
            });
        sent.await.map_err(|error| {
            tracing::debug!(%error, "a request did not reach the runner");
            match protocol::unsent(&error) {
                Unsent::Gone => RunnerError::Gone,
                Unsent::Crowded => RunnerError::Failed(Why::Crowded),
                Unsent::Other => RunnerError::Failed(Why::Io),
            }
        })
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "any other answer is one that was not asked for"
    )]
    async fn ask_done(&self, request: Request) -> Result<(), RunnerError> {
        match self.ask(request, &[]).await?.1.0 {
            Outcome::Done(Nothing {}) => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    async fn ask_descriptor(&self, request: Request) -> Result<(u64, OwnedFd), RunnerError> {
        let (id, (outcome, descriptors)) = self.ask(request, &[]).await?;
        match (outcome, <[OwnedFd; 1]>::try_from(descriptors)) {
            (Outcome::Done(Nothing {}), Ok([descriptor])) => Ok((id, descriptor)),
            (other, _) => Err(unexpected(other)),
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "any other answer is one that was not asked for"
    )]
    async fn ask_info(&self, request: Request) -> Result<Info, RunnerError> {
        match self.ask(request, &[]).await?.1.0 {
            Outcome::Info(info) => Ok(info),
            other => Err(unexpected(other)),
        }
    }

    /// Notes that nobody wants what a request began.
    fn abandon(&self, id: u64) {
        let message = ToRunner {
            id: 0,
            request: Some(Request::Abandon(id)),
        }
        .encode_to_vec();
        if packet::send(self.socket.get_ref().as_fd(), &message, &[]).is_err() {
            self.waiting.lock().abandoned.push(id);
        }
    }
}

/// An answer that was not hoped for.
fn unexpected(outcome: Outcome) -> RunnerError {
    match outcome {
        Outcome::Failure(Failure { why }) => {
            RunnerError::Failed(Why::try_from(why).unwrap_or(Why::Io))
        }
        Outcome::Done(_)
        | Outcome::Launched(_)
        | Outcome::Signalled(_)
        | Outcome::Info(_)
        | Outcome::Listing(_) => RunnerError::Senseless,
    }
}
