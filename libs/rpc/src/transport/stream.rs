//! A connection of any transport, with the peer at its other end.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use crate::Peer;

/// What every transport is.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// A connection whose handshake is complete. Once it is cut it fails in both directions: HTTP/2 always reads, and
/// a write that waits for a peer must not hold it.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    peer: Peer,
    /// Each of them ends it: its server does, and what its handshake rested on.
    cuts: Vec<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Connection {
    /// A connection of `peer`.
    pub(crate) fn new(stream: impl Stream, peer: Peer) -> Self {
        Self {
            stream: Box::new(stream),
            peer,
            cuts: Vec::new(),
        }
    }

    /// The connection, until it is cut.
    pub(crate) fn until(mut self, cut: &CancellationToken) -> Self {
        self.cuts.push(Box::pin(cut.clone().cancelled_owned()));
        self
    }

    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        // Each is asked, so that each wakes whoever reads or writes.
        let asked = self.cuts.iter_mut().map(|cut| cut.as_mut().poll(context));
        if asked.filter(Poll::is_ready).count() > 0 {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut *self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut *self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut *self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut *self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut *self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
