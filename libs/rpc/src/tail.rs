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
use tonic::Status;
use tonic::body::Body;

use crate::Fault;
use crate::guard::panicked;
use crate::trace::Recorder;

/// When an answer is over, whoever makes it.
pub(crate) enum End {
    /// At once, whatever there is to say: its deadline.
    Now(BoxFuture<'static, Fault>),
    /// As soon as there is nothing to say at the moment, so that what a stream has is not lost.
    Idle(BoxFuture<'static, Fault>),
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
        if let End::Now(end) = &mut self.end
            && let Poll::Ready(fault) = end.as_mut().poll(context)
        {
            return Poll::Ready(Some(Ok(self.cut(fault))));
        }
        let this = &mut *self;
        let span = this.recorder.span().clone();
        // After a panic the body is dropped, so what it left half-done is seen by nobody.
        let name = this.recorder.name().clone();
        let polled = span.in_scope(|| {
            let body = Pin::new(&mut this.body);
            let poll = AssertUnwindSafe(|| name.in_scope(|| body.poll_frame(context)));
            catch_unwind(poll).map_err(|_panic| panicked())
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
                if let End::Idle(end) = &mut self.end
                    && let Poll::Ready(fault) = end.as_mut().poll(context)
                {
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
