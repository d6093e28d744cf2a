//! One dial: resolve, check every address, connect, and speak TLS where the policy says so.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::address::{self, Allowed, Closed};
use crate::spec::{Scheme, UpstreamSpec};
use crate::tls::Ways;
use crate::upstream::Dialing;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// Why an upstream was not reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// The name leads nowhere.
    #[error("resolve the upstream's name")]
    Resolve(#[source] io::Error),
    /// The name has no address.
    #[error("the upstream's name has no address")]
    NoAddress,
    /// Where it leads is closed.
    #[error("{}", .0.as_str())]
    Refused(Closed),
    /// Nothing answers there.
    #[error("connect to the upstream")]
    Connect(#[source] io::Error),
    /// It is not who it should be.
    #[error("speak TLS with the upstream")]
    Tls(#[source] io::Error),
    /// It took too long.
    #[error("the upstream did not answer in time")]
    TooLate,
    /// There are no roots to verify by.
    #[error("no roots are configured")]
    NoRoots,
}

/// Dials one upstream. Each request has one, whether it dials or not, so a clone costs next to nothing.
#[derive(Debug, Clone)]
pub(crate) struct Dialer(Arc<Target>);

/// Where a dialer leads, and how.
#[derive(Debug)]
struct Target {
    spec: UpstreamSpec,
    grpc: bool,
    dialing: Dialing,
    /// Dials so far, each of which begins at another address of the name.
    dials: AtomicUsize,
}

impl Dialer {
    pub(crate) fn new(spec: UpstreamSpec, grpc: bool, dialing: Dialing) -> Self {
        Self(Arc::new(Target {
            spec,
            grpc,
            dialing,
            dials: AtomicUsize::new(0),
        }))
    }

    async fn dial(self) -> Result<Stream, DialError> {
        let addresses = self.addresses().await?;
        let literal = self.0.spec.is_literal_loopback();
        let allowed = Allowed {
            networks: &self.0.spec.networks,
            loopback: literal && self.0.dialing.loopback,
            own: &self.0.dialing.own,
        };
        for address in &addresses {
            // One closed address condemns the name: whoever mixes them in wants to get past this.
            address::check(*address, allowed).map_err(DialError::Refused)?;
        }
        let addresses = in_turn(addresses, self.0.dials.fetch_add(1, Ordering::Relaxed));
        let mut last = DialError::NoAddress;
        let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        let until = Instant::now() + self.0.spec.connect_timeout;
        for address in addresses {
            // One that does not answer leaves as much for each of the others.
            let share = until.saturating_duration_since(Instant::now()) / left;
            left = left.saturating_sub(1).max(1);
            match tokio::time::timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return self.secure(stream).await,
                Ok(Err(error)) => last = DialError::Connect(error),
                Err(_) => last = DialError::TooLate,
            }
        }
        Err(last)
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, DialError> {
        if let Some(literal) = self.0.spec.literal() {
            return Ok(vec![SocketAddr::new(literal, self.0.spec.port)]);
        }
        let host = (self.0.spec.host.as_str(), self.0.spec.port);
        let found = tokio::net::lookup_host(host).await;
        Ok(found.map_err(DialError::Resolve)?.collect())
    }

    async fn secure(&self, stream: TcpStream) -> Result<Stream, DialError> {
        stream.set_nodelay(true).map_err(DialError::Connect)?;
        match self.0.spec.scheme {
            Scheme::Http => Ok(Stream::Plain(TokioIo::new(stream))),
            Scheme::Https => {
                let roots = self.0.dialing.roots.as_ref().ok_or(DialError::NoRoots)?;
                let Ways { grpc, http } = roots.current();
                let config = if self.0.grpc { grpc } else { http };
                let name = ServerName::try_from(self.0.spec.tls_name.clone());
                let name = name.map_err(|error| DialError::Tls(io::Error::other(error)))?;
                let connector = TlsConnector::from(config);
                let stream = connector.connect(name, stream).await;
                let stream = stream.map_err(DialError::Tls)?;
                Ok(Stream::Tls(Box::new(TokioIo::new(stream))))
            }
        }
    }
}

impl tower_service::Service<Uri> for Dialer {
    type Response = Stream;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, DialError>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        // Where to go is the policy's; the URI is one that we made of it.
        let dialer = self.clone();
        Box::pin(async move {
            let limit = dialer.0.spec.connect_timeout;
            match tokio::time::timeout(limit, dialer.dial()).await {
                Ok(dialed) => dialed,
                Err(_) => Err(DialError::TooLate),
            }
        })
    }
}

/// The addresses that one dial tries, in their order: each dial begins one further, so that connections are spread over
/// all of them, whichever the resolver names first.
fn in_turn(mut addresses: Vec<SocketAddr>, dial: usize) -> Vec<SocketAddr> {
    // Resolvers answer in changing order, which would undo the turns.
    addresses.sort_unstable();
    addresses.dedup();
    if let Some(first) = dial.checked_rem(addresses.len()) {
        addresses.rotate_left(first);
    }
    addresses.truncate(ADDRESSES_MAX);
    addresses
}

/// A connection to an upstream.
#[derive(Debug)]
pub(crate) enum Stream {
    /// In plaintext.
    Plain(TokioIo<TcpStream>),
    /// Over TLS.
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        match self {
            Self::Plain(_) => connected,
            Self::Tls(stream) => {
                let (_, session) = stream.inner().get_ref();
                if session.alpn_protocol() == Some(b"h2") {
                    connected.negotiated_h2()
                } else {
                    connected
                }
            }
        }
    }
}

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl Write for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn each_dial_begins_at_the_next_address_in_whatever_order_they_were_found() {
        assert_eq!(in_turn(vec![at(2), at(1)], 0), [at(1), at(2)]);
        assert_eq!(in_turn(vec![at(1), at(2), at(1)], 1), [at(2), at(1)]);
        assert_eq!(in_turn(vec![at(1), at(2)], 2), [at(1), at(2)]);
        assert_eq!(in_turn(Vec::new(), 3), []);
        let many: Vec<_> = (0..100).map(at).collect();
        let tried = in_turn(many, 99);
        assert_eq!(tried.len(), ADDRESSES_MAX);
        assert_eq!(tried.first(), Some(&at(99)));
    }
}
