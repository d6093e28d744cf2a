//! Bodies on their way: counted, timed, and cut when what allowed them ends.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::Status;
use tonic::body::Body;

use crate::error::Dialect;
use crate::refusal::Refusal;
use crate::streams::{Abandon, Cut, Open};

/// Why the body of a request ended early, for whoever waits for the answer; and the record of it, where the answer was
/// under way by then.
#[derive(Clone, Default)]
pub(crate) struct Verdict(Arc<Ruling>);

type Note = Box<dyn Fn(&Refusal) + Send + Sync>;

#[derive(Default)]
struct Ruling {
    refusal: OnceLock<Refusal>,
    /// Puts a refusal on record; there from the head of the answer on.
    note: OnceLock<Note>,
    /// Whether nobody reads the answer any more.
    over: AtomicBool,
    noted: AtomicBool,
}

impl Verdict {
    /// Why, if it did.
    pub(crate) fn get(&self) -> Option<Refusal> {
        self.0.refusal.get().cloned()
    }

    pub(crate) fn set(&self, refusal: &Refusal) {
        self.0.refusal.get_or_init(|| refusal.clone());
        if self.0.over.load(Ordering::SeqCst) {
            self.note();
        }
    }

    /// Notes by `note` what is refused from here on: once, and also when the answer was over before.
    fn noted_by(&self, note: impl Fn(&Refusal) + Send + Sync + 'static) {
        self.0.note.get_or_init(|| Box::new(note));
    }

    /// The answer is over, whoever ended it.
    fn over(&self) {
        self.0.over.store(true, Ordering::SeqCst);
        self.note();
    }

    fn note(&self) {
        if let (Some(refusal), Some(note)) = (self.0.refusal.get(), self.0.note.get())
            && !self.0.noted.swap(true, Ordering::SeqCst)
        {
            note(refusal);
        }
    }
}

/// A body that ends early.
#[derive(Debug, thiserror::Error)]
#[error("the body was cut: {}", .0.reason())]
struct Stopped(Refusal);

type TrailerFilter = Box<dyn Fn(HeaderMap) -> HeaderMap + Send>;

/// The verdict on the other direction; with it, this one is over.
struct Following(Verdict);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.over();
    }
}

/// A body, until it is over for a reader who does not ask for it.
struct Shared<B>(Mutex<Option<B>>);

impl<B: Send> Abandon for Shared<B> {
    fn abandon(&self) {
        let body = self.0.lock().take();
        // Outside of the lock: it may tell whoever sends it.
        drop(body);
    }
}

/// A body under guard.
pub(crate) struct Guarded<B> {
    inner: Arc<Shared<B>>,
    left: Option<u64>,
    too_large: Option<Refusal>,
    cut: Cut,
    cut_wait: Pin<Box<WaitForCancellationFutureOwned>>,
    deadline: Option<Pin<Box<Sleep>>>,
    trailers: Option<TrailerFilter>,
    /// How a caller learns of the end: in trailers, or by a reset.
    dialect: Dialect,
    verdict: Verdict,
    /// Why the other direction ended, where this one ends for it.
    other: Option<Following>,
    /// Entered for as long as the body lives.
    open: Option<Arc<Open>>,
    done: bool,
}

impl<B> Guarded<B> {
    /// A body that ends when `cut` says so.
    pub(crate) fn new(inner: B, cut: &Cut) -> Self {
        Self {
            inner: Arc::new(Shared(Mutex::new(Some(inner)))),
            left: None,
            too_large: None,
            cut: cut.clone(),
            cut_wait: Box::pin(cut.token().cancelled_owned()),
            deadline: None,
            trailers: None,
            dialect: Dialect::Http,
            verdict: Verdict::default(),
            other: None,
            open: None,
            done: false,
        }
    }

    /// Ends it with `refusal` after `bytes`.
    pub(crate) fn at_most(mut self, bytes: u64, refusal: Refusal) -> Self {
        self.left = Some(bytes);
        self.too_large = Some(refusal);
        self
    }

    /// Ends it at an instant.
    pub(crate) fn until(mut self, deadline: Option<Instant>) -> Self {
        self.deadline = deadline.map(|at| Box::pin(tokio::time::sleep_until(at)));
        self
    }

    /// Lets trailers cross by a filter only.
    pub(crate) fn trailers(
        mut self,
        filter: impl Fn(HeaderMap) -> HeaderMap + Send + 'static,
    ) -> Self {
        self.trailers = Some(Box::new(filter));
        self
    }

    /// Keeps the request entered for as long as this body moves, whatever becomes of the other direction.
    pub(crate) fn holds(mut self, open: &Arc<Open>) -> Self {
        self.open = Some(Arc::clone(open));
        self
    }

    /// Tells the reader why it ended, in trailers where those are read. A reader who opens no window is not asked, so
    /// what is behind this body ends without it, once it is cut or its time is over.
    pub(crate) fn answers(mut self, dialect: Dialect, open: Arc<Open>) -> Self
    where
        B: Send + 'static,
    {
        let held: Arc<dyn Abandon> = Arc::<Shared<B>>::clone(&self.inner);
        let until = self.deadline.as_ref().map(|deadline| deadline.deadline());
        open.abandons(Arc::downgrade(&held), until);
        self.dialect = dialect;
        self.open = Some(open);
        self
    }

    /// Ends with what `other` says, once it breaks off for that; `note` puts on record what the other direction is
    /// refused for from here on, be this one over by then or not.
    pub(crate) fn follows(
        mut self,
        other: &Verdict,
        note: impl Fn(&Refusal) + Send + Sync + 'static,
    ) -> Self {
        other.noted_by(note);
        self.other = Some(Following(other.clone()));
        self
    }

    /// Tells `verdict` why it ended.
    pub(crate) fn tells(mut self, verdict: &Verdict) -> Self {
        self.verdict = verdict.clone();
        self
    }

    fn stop(&mut self, refusal: &Refusal) -> Poll<Option<Result<Frame<Bytes>, Stopped>>> {
        self.done = true;
        self.other = None;
        self.verdict.set(refusal);
        self.open = None;
        match self.dialect {
            Dialect::Grpc => {
                let mut trailers = HeaderMap::new();
                // A status of ours has no metadata that cannot be encoded.
                if Status::from(refusal).add_header(&mut trailers).is_err() {
                    return Poll::Ready(Some(Err(Stopped(refusal.clone()))));
                }
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Dialect::Http => Poll::Ready(Some(Err(Stopped(refusal.clone())))),
        }
    }
}

impl<B> http_body::Body for Guarded<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.done {
            return Poll::Ready(None);
        }
        if this.cut_wait.as_mut().poll(context).is_ready() {
            let reason = this.cut.reason();
            let reason = reason.unwrap_or(crate::refusal::CutReason::Ending);
            return this.stop(&Refusal::Cut(reason)).map_err(BodyError::from);
        }
        if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            return this
                .stop(&Refusal::DeadlineExceeded)
                .map_err(BodyError::from);
        }
        let mut inner = this.inner.0.lock();
        let polled = inner.as_mut();
        let polled = polled.map(|inner| Pin::new(inner).poll_frame(context));
        drop(inner);
        let Some(polled) = polled else {
            // Abandoned for its time, a moment before our own clock says so.
            return this
                .stop(&Refusal::DeadlineExceeded)
                .map_err(BodyError::from);
        };
        let frame = match ready!(polled) {
            None => {
                this.done = true;
                this.other = None;
                this.open = None;
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                let refusal = this.other.as_ref().and_then(|other| other.0.get());
                if let Some(refusal) = refusal {
                    return this.stop(&refusal).map_err(BodyError::from);
                }
                this.done = true;
                this.open = None;
                tracing::debug!(%error, "a body broke off");
                return Poll::Ready(Some(Err(BodyError::Broken)));
            }
            Some(Ok(frame)) => frame,
        };
        match frame.into_data() {
            Ok(data) => {
                if let Some(left) = &mut this.left {
                    let size = data.remaining() as u64;
                    if size > *left {
                        let refusal = this.too_large.clone();
                        let refusal = refusal.unwrap_or(Refusal::DeadlineExceeded);
                        return this.stop(&refusal).map_err(BodyError::from);
                    }
                    *left -= size;
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                let trailers = match &this.trailers {
                    Some(filter) => filter(trailers),
                    None => trailers,
                };
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let inner = self.inner.0.lock();
        self.done || inner.as_ref().is_some_and(B::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.inner.0.lock();
        inner.as_ref().map(B::size_hint).unwrap_or_default()
    }
}

/// Why a body ended early, as hyper sees it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The sender broke off.
    #[error("the sender broke off")]
    Broken,
    /// We cut it.
    #[error(transparent)]
    Stopped(#[from] StoppedError),
}

impl BodyError {
    /// What ends a body that is refused.
    pub(crate) fn refused(refusal: &Refusal) -> Self {
        Stopped(refusal.clone()).into()
    }
}

/// What [`BodyError::Stopped`] carries.
#[derive(Debug, thiserror::Error)]
#[error("the body was cut")]
pub(crate) struct StoppedError;

impl From<Stopped> for BodyError {
    fn from(stopped: Stopped) -> Self {
        tracing::debug!(reason = stopped.0.reason(), "a body was cut");
        Self::Stopped(StoppedError)
    }
}

/// A guarded body as our servers and channels take it.
pub(crate) fn boxed<B>(guarded: Guarded<B>) -> Body
where
    B: http_body::Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: std::fmt::Display,
{
    Body::new(guarded)
}

#[cfg(test)]
mod tests;
