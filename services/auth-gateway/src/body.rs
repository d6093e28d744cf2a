//! Bodies that are taken apart on their way to an upstream: what goes on is what the policy made of them.
//!
//! JSON is read whole and then sent; messages of gRPC go one by one, as they come. Either way no byte goes on that
//! was not decided on, and a body that breaks a rule ends the request, with the rule told to whoever asked.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::Method;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use sandgate_message::frame::{self, Frames, framed};
use sandgate_policy::{Body, BodyRefused, JsonBody};
use sandgate_session::Claims;
use sandgate_types::RouteName;

use crate::buffers::Held;
use crate::guard::{BodyError, Verdict};
use crate::policy::Route;
use crate::refusal::Refusal;

/// The largest JSON body: it is in memory as a whole, and as a tree.
pub(crate) const JSON_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// The largest message of gRPC, which most servers do not take larger either.
const MESSAGE_MAX_BYTES: usize = 4 * 1024 * 1024;

fn refused(route: &RouteName, BodyRefused { clause, rule }: BodyRefused) -> Refusal {
    Refusal::Body {
        route: route.clone(),
        clause,
        rule,
    }
}

/// Reads a JSON body and answers what goes on; nothing for none, where the method needs none.
///
/// # Errors
/// The rule that it breaks, or why it could not be read.
pub(crate) async fn json<B>(
    mut body: B,
    verdict: &Verdict,
    json: &JsonBody,
    (route, method): (&RouteName, &Method),
    claims: &Claims,
    mut held: Held,
) -> Result<Whole, Refusal>
where
    B: HttpBody<Data = Bytes, Error = BodyError> + Unpin,
{
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        // Why it was cut is in the verdict; what else breaks off is the sender's end.
        let frame = frame.map_err(|_| verdict.get().unwrap_or(Refusal::Broken))?;
        if let Ok(data) = frame.into_data() {
            held.grow(data.len())?;
            text.extend_from_slice(&data);
        }
    }
    let needs_none = matches!(
        *method,
        Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS
    );
    if text.is_empty() && needs_none {
        return Ok(Whole {
            bytes: Bytes::new(),
            _held: held,
        });
    }
    let written = json.rewrite(&text, claims);
    let written = written.map_err(|rule| refused(route, rule))?;
    Ok(Whole {
        bytes: Bytes::from(written),
        _held: held,
    })
}

/// A body that is there as a whole.
pub(crate) struct Whole {
    bytes: Bytes,
    /// Counted until the upstream has it.
    _held: Held,
}

impl HttpBody for Whole {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        let bytes = std::mem::take(&mut self.bytes);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.remaining() as u64)
    }
}

/// Messages of gRPC, each as the policy made it.
pub(crate) struct Rewriting<B> {
    inner: B,
    frames: Frames,
    route: Arc<Route>,
    method: String,
    claims: Arc<Claims>,
    verdict: Verdict,
    held: Held,
    ended: bool,
}

impl<B> Rewriting<B> {
    /// The messages of `inner`, which go to `method` by a route that takes messages apart.
    pub(crate) fn new(
        inner: B,
        route: Arc<Route>,
        method: &str,
        claims: Arc<Claims>,
        verdict: &Verdict,
        held: Held,
    ) -> Self {
        let most = usize::try_from(route.spec.limits.request_bytes.bytes()).unwrap_or(usize::MAX);
        Self {
            inner,
            frames: Frames::new(most.min(MESSAGE_MAX_BYTES)),
            route,
            method: method.to_owned(),
            claims,
            verdict: verdict.clone(),
            held,
            ended: false,
        }
    }

    /// The next message that is whole, as it goes on.
    fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        let rule = |refused: frame::Refused| BodyRefused {
            clause: "grpc.descriptor_set",
            rule: refused.to_string(),
        };
        let route = &self.route.spec;
        let taken = self.frames.take();
        let taken = taken.map_err(|broken| refused(&route.name, rule(broken)))?;
        let Some(message) = taken else {
            return Ok(None);
        };
        self.held.shrink(frame::HEAD_BYTES + message.len());
        let Body::Messages(messages) = &route.body else {
            return Ok(None);
        };
        let written = messages.rewrite(&self.method, &message, &self.claims);
        let written = written.map_err(|broken| refused(&route.name, broken))?;
        let written = framed(&written);
        written
            .map(Some)
            .map_err(|broken| refused(&route.name, rule(broken)))
    }

    fn push(&mut self, piece: &[u8]) -> Result<Option<Bytes>, Refusal> {
        self.held.grow(piece.len())?;
        self.frames.push(piece);
        self.next()
    }

    fn end(&self) -> Result<(), Refusal> {
        self.frames.end().map_err(|broken| {
            let rule = broken.to_string();
            let clause = "grpc.descriptor_set";
            refused(&self.route.spec.name, BodyRefused { clause, rule })
        })
    }

    fn stop(&mut self, refusal: &Refusal) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.ended = true;
        self.verdict.set(refusal);
        Poll::Ready(Some(Err(BodyError::refused(refusal))))
    }
}

impl<B> HttpBody for Rewriting<B>
where
    B: HttpBody<Data = Bytes, Error = BodyError> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        // What came with the piece before.
        let mut next = this.next();
        loop {
            match next {
                Ok(Some(message)) => return Poll::Ready(Some(Ok(Frame::data(message)))),
                Ok(None) => {}
                Err(refusal) => return this.stop(&refusal),
            }
            let frame = match ready!(Pin::new(&mut this.inner).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    if let Err(refusal) = this.end() {
                        return this.stop(&refusal);
                    }
                    this.ended = true;
                    return Poll::Ready(None);
                }
            };
            next = match frame.into_data() {
                Ok(piece) => this.push(&piece),
                Err(trailers) => {
                    if let Err(refusal) = this.end() {
                        return this.stop(&refusal);
                    }
                    return Poll::Ready(Some(Ok(trailers)));
                }
            };
        }
    }
}
