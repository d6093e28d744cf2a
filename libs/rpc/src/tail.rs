//! An answer's body until its end: it counts as in flight until then, its status is recorded, and a stream
//! that would go on for ever ends with its server.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;
use tonic::body::Body;

use crate::trace::Recorder;
use crate::{Fault, Reason, Shutdown};

const ENDING: Reason = Reason::new("sandgate", "SERVER_ENDING");
/// When another server, or this one again, may be there.
const COME_BACK: Duration = Duration::from_secs(1);

/// The body.
pub(crate) struct Tail {
    body: Body,
    recorder: Recorder,
    _admitted: OwnedSemaphorePermit,
    ending: Option<BoxFuture<'static, ()>>,
    ended: bool,
}

impl Tail {
    pub(crate) fn new(
        body: Body,
        recorder: Recorder,
        admitted: OwnedSemaphorePermit,
        ends_with: Option<Shutdown>,
    ) -> Self {
        let ending = ends_with.map(|shutdown| -> BoxFuture<'static, ()> {
            Box::pin(async move { shutdown.cancelled().await })
        });
        Self {
            body,
            recorder,
            _admitted: admitted,
            ending,
            ended: false,
        }
    }

    /// The last frame of a stream that its server ends.
    fn cut(&mut self) -> Frame<Bytes> {
        let fault = Fault::unavailable(ENDING, "the server is ending; open the stream again");
        let status = Status::from(fault.retry_after(COME_BACK));
        let mut trailers = HeaderMap::new();
        if status.add_header(&mut trailers).is_err() {
            trailers.clear();
        }
        self.recorder.end(status.code());
        self.ended = true;
        Frame::trailers(trailers)
    }
}

impl http_body::Body for Tail {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.recorder.see(trailers);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(status))) => {
                self.recorder.end(status.code());
                Poll::Ready(Some(Err(status)))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => match self
                .ending
                .as_mut()
                .map(|ending| ending.as_mut().poll(context))
            {
                Some(Poll::Ready(())) => Poll::Ready(Some(Ok(self.cut()))),
                Some(Poll::Pending) | None => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
