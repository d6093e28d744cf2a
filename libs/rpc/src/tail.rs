//! An answer's body until its end: it counts as in flight until then, its status is recorded, its panic is a
//! status, and it ends in time: a stream with its server, another answer at its deadline.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;

use crate::guard::{panicked, too_late};
use crate::trace::Recorder;
use crate::{Deadline, Fault};

/// When an answer is over, whoever makes it.
pub(crate) enum End {
    /// At once, whatever there is to say: its deadline, and the alarm for it once the answer keeps us waiting.
    Now(Deadline, Option<Pin<Box<Sleep>>>),
    /// As soon as there is nothing to say at the moment, so that what a stream has is not lost.
    Idle(BoxFuture<'static, Fault>),
}

impl End {
    /// Whether it is over, asked while there is nothing to say.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Fault> {
        match self {
            Self::Idle(end) => end.as_mut().poll(context),
            Self::Now(deadline, alarm) => alarm
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.instant())))
                .as_mut()
                .poll(context)
                .map(|()| too_late()),
        }
    }
}

/// The body.
pub(crate) struct Tail {
    body: Body,
    recorder: Recorder,
    _admitted: Option<OwnedSemaphorePermit>,
    end: End,
    ended: bool,
}

impl Tail {
    /// `body`, until `end` says how it is over.
    pub(crate) fn new(
        body: Body,
        recorder: Recorder,
        admitted: Option<OwnedSemaphorePermit>,
        end: End,
    ) -> Self {
        Self {
            body,
            recorder,
            _admitted: admitted,
            end,
            ended: false,
        }
    }

    /// The last frame of an answer that we end; whoever made it is dropped.
    fn cut(&mut self, fault: Fault) -> Frame<Bytes> {
        let status = Status::from(fault);
        let mut trailers = HeaderMap::new();
        if status.add_header(&mut trailers).is_err() {
            trailers.clear();
        }
        self.recorder.end(status.code());
        self.ended = true;
        self.body = Body::empty();
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
        if let End::Now(deadline, _) = &self.end
            && deadline.remaining().is_zero()
        {
            return Poll::Ready(Some(Ok(self.cut(too_late()))));
        }
        let Self { body, recorder, .. } = &mut *self;
        let recorder = &*recorder;
        // After a panic the body is dropped, so what it left half-done is seen by nobody.
        let polled = recorder.span().in_scope(|| {
            let body = Pin::new(body);
            let poll = || recorder.name().in_scope(|| body.poll_frame(context));
            catch_unwind(AssertUnwindSafe(poll)).map_err(|_panic| panicked())
        });
        match polled {
            Err(fault) => Poll::Ready(Some(Ok(self.cut(fault)))),
            Ok(Poll::Ready(Some(Ok(frame)))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.recorder.see(trailers);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Ok(Poll::Ready(Some(Err(status)))) => {
                self.recorder.end(status.code());
                Poll::Ready(Some(Err(status)))
            }
            Ok(Poll::Ready(None)) => Poll::Ready(None),
            Ok(Poll::Pending) => {
                if let Poll::Ready(fault) = self.end.poll(context) {
                    return Poll::Ready(Some(Ok(self.cut(fault))));
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // What may end early has no exact size.
        SizeHint::default()
    }
}
