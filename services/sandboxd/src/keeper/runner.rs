//! The keeper's end of the connection to the runner: one request, one answer, and the ends of processes.
//!
//! The runner is as trustworthy as the agent. Whatever it answers is bounded, parsed and checked before
//! anything here relies on it, and a descriptor of it is of the kind that was asked for or is refused.

mod file;
mod launch;
mod stream;
mod tree;
mod waiting;

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

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
use waiting::{Answered, Asked, Waiting};

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

/// The connection to the runner.
#[derive(Debug)]
pub(crate) struct Runner {
    socket: AsyncFd<OwnedFd>,
    waiting: Waiting,
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
            waiting: Waiting::default(),
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
        self.waiting.gone();
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
            }) => self.waiting.answered(id, (outcome, descriptors)),
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
                self.waiting.ended(process, how);
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
        let Asked {
            id,
            answer,
            abandoned,
        } = self.waiting.ask(exit, |id| self.kills.begin(id))?;
        let sent = self.send_all(id, request, descriptors, abandoned).await;
        if sent.is_err() && self.waiting.unsent(id) {
            self.kills.forget(id);
        }
        sent.map(|()| (id, answer))
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
                self.waiting.abandon(std::iter::once(file).chain(abandoned));
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
            self.waiting.abandon([id]);
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
