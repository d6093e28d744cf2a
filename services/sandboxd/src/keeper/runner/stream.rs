//! Whole trees, and news of one, as frames of a stream that a thread of the runner serves.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader, BufWriter};
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use super::{Answered, Runner, RunnerError, unexpected};
use crate::protocol::{
    ApplyFrame, ApplyPart, Nothing, Outcome, Request, WalkFrame, WalkPart, Watch, WatchFrame, Why,
    frame, frame_length,
};

/// Frames are small; a few of them are moved at once.
const BUFFER_BYTES: usize = 32 * 1024;

/// Every entry of the workspace, in no order that anybody may rely on.
#[derive(Debug)]
pub(crate) struct WalkStream {
    stream: BufReader<UnixStream>,
    answered: oneshot::Receiver<Answered>,
    done: bool,
}

/// The workspace as it shall be.
#[derive(Debug)]
pub(crate) struct ApplyStream {
    stream: BufWriter<UnixStream>,
    answered: oneshot::Receiver<Answered>,
}

/// What changes below a directory.
#[derive(Debug)]
pub(crate) struct WatchStream(BufReader<UnixStream>);

impl Runner {
    /// Begins a walk of the workspace.
    ///
    /// # Errors
    /// [`RunnerError`].
    pub(crate) async fn walk(&self) -> Result<WalkStream, RunnerError> {
        let (stream, answered) = self.begin_stream(Request::Walk(Nothing {})).await?;
        Ok(WalkStream {
            stream: BufReader::with_capacity(BUFFER_BYTES, stream),
            answered,
            done: false,
        })
    }

    /// Begins to make the workspace anew.
    ///
    /// # Errors
    /// [`RunnerError`].
    pub(crate) async fn apply(&self) -> Result<ApplyStream, RunnerError> {
        let (stream, answered) = self.begin_stream(Request::Apply(Nothing {})).await?;
        Ok(ApplyStream {
            stream: BufWriter::with_capacity(BUFFER_BYTES, stream),
            answered,
        })
    }

    /// Watches a directory; answered once the watch is in place.
    ///
    /// # Errors
    /// [`RunnerError`].
    pub(crate) async fn watch(
        &self,
        path: Vec<u8>,
        recursive: bool,
    ) -> Result<WatchStream, RunnerError> {
        let (stream, answered) = self
            .begin_stream(Request::Watch(Watch { path, recursive }))
            .await?;
        done(answered).await?;
        Ok(WatchStream(BufReader::with_capacity(BUFFER_BYTES, stream)))
    }

    async fn begin_stream(
        &self,
        request: Request,
    ) -> Result<(UnixStream, oneshot::Receiver<Answered>), RunnerError> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(crowded)?;
        let waitable = ours
            .set_nonblocking(true)
            .and_then(|()| UnixStream::from_std(ours));
        let stream = waitable.map_err(crowded)?;
        let (_, answered) = self.begin(request, &[OwnedFd::from(theirs)], None).await?;
        Ok((stream, answered))
    }
}

/// That the keeper itself has no descriptor left, which the runner has no part in.
fn crowded(_error: io::Error) -> RunnerError {
    RunnerError::Failed(Why::Crowded)
}

impl WalkStream {
    /// The next entry; `None` after the last, and then [`WalkStream::finish`] says whether it was the last.
    ///
    /// # Errors
    /// [`RunnerError`].
    pub(crate) async fn next(&mut self) -> Result<Option<WalkPart>, RunnerError> {
        if self.done {
            return Ok(None);
        }
        let frame: Option<WalkFrame> = read(&mut self.stream).await?;
        let Some(frame) = frame else { return Ok(None) };
        let part = frame.part.ok_or(RunnerError::Senseless)?;
        self.done = matches!(part, WalkPart::Done(_));
        Ok(Some(part))
    }

    /// Whether everything was seen.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn finish(self) -> Result<(), RunnerError> {
        drop(self.stream);
        done(self.answered).await?;
        if self.done {
            Ok(())
        } else {
            Err(RunnerError::Senseless)
        }
    }
}

impl ApplyStream {
    /// Sends the next part.
    ///
    /// # Errors
    /// When the runner takes no more: [`ApplyStream::finish`] says why.
    pub(crate) async fn send(&mut self, part: ApplyPart) -> io::Result<()> {
        self.stream
            .write_all(&frame(&ApplyFrame { part: Some(part) }))
            .await
    }

    /// Ends the stream and waits until the workspace is as it shall be.
    ///
    /// # Errors
    /// Why it is not.
    pub(crate) async fn finish(mut self) -> Result<(), RunnerError> {
        // When the runner has closed its end it has a reason, which its answer tells.
        let _closed = self.stream.flush().await;
        drop(self.stream);
        done(self.answered).await
    }
}

impl WatchStream {
    /// The next change; `None` when the watch has ended.
    ///
    /// # Errors
    /// [`RunnerError`].
    pub(crate) async fn next(&mut self) -> Result<Option<WatchFrame>, RunnerError> {
        read(&mut self.0).await
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "any other answer is one that was not asked for"
)]
async fn done(answered: oneshot::Receiver<Answered>) -> Result<(), RunnerError> {
    match answered.await.map_err(|_| RunnerError::Gone)?.0 {
        Outcome::Done(Nothing {}) => Ok(()),
        other => Err(unexpected(other)),
    }
}

async fn read<M: prost::Message + Default>(
    stream: &mut BufReader<UnixStream>,
) -> Result<Option<M>, RunnerError> {
    let mut head = [0; 4];
    match stream.read_exact(&mut head).await {
        Ok(_) => {}
        Err(_ended) => return Ok(None),
    }
    let length = frame_length(head).map_err(|_| RunnerError::Senseless)?;
    let mut bytes = vec![0; length];
    stream
        .read_exact(&mut bytes)
        .await
        .map_err(|_| RunnerError::Senseless)?;
    M::decode(&*bytes)
        .map(Some)
        .map_err(|_| RunnerError::Senseless)
}
