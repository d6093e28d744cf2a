//! Where a server takes connections.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Semaphore, mpsc};

use super::connect::Target;
use super::stream::Connection;
use super::tls::ServerTls;
use crate::limits::{HANDSHAKE_TIMEOUT, HANDSHAKES};
use crate::{Peer, Shutdown};

/// How long to wait after the kernel had no descriptor to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections of an in-process pipe that may wait to be accepted; each peer makes one.
const WAITING: usize = 16;

/// A bound listener. Bound first and served later, so that a wrong address fails at once.
#[derive(Debug)]
pub struct Listen(Kind);

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener, Option<ServerTls>),
    Unix(UnixListener),
    Memory(mpsc::Receiver<Connection>),
}

/// The other side of an in-process listener: gives out [`Target`]s.
#[derive(Debug, Clone)]
pub struct Memory(mpsc::Sender<Connection>);

/// A listener within this process, and what makes targets that reach it.
pub fn memory() -> (Listen, Memory) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Listen(Kind::Memory(receiver)), Memory(sender))
}

impl Memory {
    /// A target whose connections the listener sees as `peer`: whoever holds it is believed to be that.
    pub fn target(&self, peer: Peer) -> Target {
        Target::memory(self.0.clone(), peer)
    }

    /// Hands over a connection that somebody else made, whose other end is held by `peer`.
    ///
    /// # Errors
    /// When the server has ended.
    pub async fn hand_over(&self, stream: tokio::net::UnixStream, peer: Peer) -> io::Result<()> {
        let accepted = Connection::new(stream, peer);
        self.0
            .send(accepted)
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::ConnectionRefused, "the service has ended"))
    }
}

impl Listen {
    /// Binds a TCP address. Without TLS every peer is anonymous, so nothing but health can be called.
    ///
    /// # Errors
    /// What the kernel says, with the address.
    pub async fn tcp(address: SocketAddr, tls: Option<ServerTls>) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            io::Error::new(error.kind(), format!("listen on {address}: {error}"))
        })?;
        Ok(Self(Kind::Tcp(listener, tls)))
    }

    /// Binds a Unix socket, replacing one that a crash has left. Peers are processes of our own user.
    ///
    /// # Errors
    /// When the folder is not ours alone (mode 0700), or what the kernel says.
    pub fn unix(path: &Path) -> io::Result<Self> {
        private_folder(path)?;
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("listen on {}: {error}", path.display()),
            )
        })?;
        Ok(Self(Kind::Unix(listener)))
    }

    /// The address of a TCP listener, with the port that the kernel chose.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Kind::Tcp(listener, _) => listener.local_addr().ok(),
            Kind::Unix(_) | Kind::Memory(_) => None,
        }
    }

    /// Accepts until the end begins. Handshakes run beside one another, bounded in number and time.
    pub(crate) async fn accept_into(self, accepted: mpsc::Sender<Connection>, shutdown: Shutdown) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.0.accept_all(accepted, &shutdown) => {}
        }
    }
}

impl Kind {
    async fn accept_all(self, accepted: mpsc::Sender<Connection>, shutdown: &Shutdown) {
        match self {
            Self::Memory(mut receiver) => {
                while let Some(connection) = receiver.recv().await {
                    if accepted.send(connection).await.is_err() {
                        return;
                    }
                }
                // Every target is gone; nobody will ever connect again.
                shutdown.cancelled().await;
            }
            Self::Unix(listener) => loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let ours = rustix::process::geteuid().as_raw();
                        if !stream.peer_cred().is_ok_and(|cred| cred.uid() == ours) {
                            tracing::warn!(
                                "a process of another user was turned away from a socket"
                            );
                            continue;
                        }
                        let connection = Connection::new(stream, Peer::Local);
                        if accepted.send(connection).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => pause(&error).await,
                }
            },
            Self::Tcp(listener, tls) => {
                let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
                loop {
                    match listener.accept().await {
                        Ok((stream, _)) => {
                            let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await else {
                                return;
                            };
                            let (accepted, tls) = (accepted.clone(), tls.clone());
                            shutdown.spawn("handshake", async move {
                                if let Some(connection) = handshake(stream, tls).await
                                    && accepted.send(connection).await.is_err()
                                {
                                    tracing::debug!("the server ended during a handshake");
                                }
                                drop(permit);
                            });
                        }
                        Err(error) => pause(&error).await,
                    }
                }
            }
        }
    }
}

async fn handshake(stream: TcpStream, tls: Option<ServerTls>) -> Option<Connection> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps its delay");
    }
    let Some(tls) = tls else {
        return Some(Connection::new(stream, Peer::Anonymous));
    };
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(connection)) => Some(connection),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a handshake failed");
            None
        }
        Err(_) => None,
    }
}

async fn pause(error: &io::Error) {
    tracing::debug!(%error, "a listener could not accept");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// A socket's folder decides who may connect, so it must be ours alone.
fn private_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let facts = std::fs::metadata(folder)?;
    let ours = facts.uid() == rustix::process::geteuid().as_raw();
    if ours && facts.permissions().mode() & 0o077 == 0 {
        Ok(())
    } else {
        let text = format!(
            "{} must belong to this user and have mode 0700",
            folder.display()
        );
        Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
    }
}
