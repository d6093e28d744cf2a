//! Where a client connects.

use std::io;
use std::path::PathBuf;

use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;

use super::stream::{Connection, Stream};
use super::tls::ClientTls;
use crate::Peer;
use crate::limits::{CONNECT_TIMEOUT, PIPE_BYTES};

/// How to reach a server.
#[derive(Debug, Clone)]
pub struct Target(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Tcp(String, Option<ClientTls>),
    Unix(PathBuf),
    Memory(mpsc::Sender<Connection>, Peer),
}

impl Target {
    /// `host:port`, with mutual TLS or, on loopback in tests, without.
    pub fn tcp(authority: &str, tls: Option<ClientTls>) -> Self {
        Self(Kind::Tcp(authority.to_owned(), tls))
    }

    /// A Unix socket of our own user.
    pub fn unix(path: PathBuf) -> Self {
        Self(Kind::Unix(path))
    }

    pub(super) fn memory(sender: mpsc::Sender<Connection>, peer: Peer) -> Self {
        Self(Kind::Memory(sender, peer))
    }

    /// Connects, handshake included.
    pub(crate) async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        tokio::time::timeout(CONNECT_TIMEOUT, self.0.connect())
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the peer did not answer"))?
    }
}

impl Kind {
    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Tcp(authority, tls) => {
                let stream = TcpStream::connect(authority.as_str()).await?;
                stream.set_nodelay(true)?;
                match tls {
                    Some(tls) => Ok(Box::new(tls.connect(stream).await?)),
                    None => Ok(Box::new(stream)),
                }
            }
            Self::Unix(path) => {
                let stream = UnixStream::connect(path).await?;
                let ours = rustix::process::geteuid().as_raw();
                if stream.peer_cred()?.uid() != ours {
                    let text = "the socket is served by another user";
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
                }
                Ok(Box::new(stream))
            }
            Self::Memory(sender, peer) => {
                let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
                let accepted = Connection::new(theirs, peer.clone());
                sender.send(accepted).await.map_err(|_| {
                    io::Error::new(io::ErrorKind::ConnectionRefused, "the service has ended")
                })?;
                Ok(Box::new(ours))
            }
        }
    }
}
