//! Bound sockets of the client listener. Bound first and served later, so that a wrong address fails at once.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use crate::client::Way;
use crate::facing::ClientFacingTls;

/// A socket for clients.
pub struct Bound(Kind);

enum Kind {
    Tcp(TcpListener, Option<ClientFacingTls>),
    Unix(UnixListener),
}

/// A connection that was accepted, of no runtime yet.
pub(crate) enum Connection {
    /// Over TCP.
    Tcp(std::net::TcpStream, Option<TlsAcceptor>),
    /// Over a Unix socket.
    Unix(std::os::unix::net::UnixStream),
}

impl Bound {
    /// Binds a TCP address; in plaintext on loopback only.
    ///
    /// # Errors
    /// What the kernel says, with the address; or that the address needs TLS.
    pub async fn tcp(address: SocketAddr, tls: Option<ClientFacingTls>) -> io::Result<Self> {
        if tls.is_none() && !address.ip().is_loopback() {
            let text = format!(
                "clients cannot connect to {address} in plaintext: give client_certificate and client_key, or use a loopback address"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| {
            io::Error::new(error.kind(), format!("listen on {address}: {error}"))
        })?;
        Ok(Self(Kind::Tcp(listener, tls)))
    }

    /// Binds a Unix socket in a folder of ours, over one that a crash has left; connections are of our own user.
    ///
    /// # Errors
    /// When the folder is not ours alone, or what the kernel says.
    pub fn unix(path: &Path) -> io::Result<Self> {
        let at = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("listen on {}: {error}", path.display()),
            )
        };
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let facts = std::fs::metadata(folder).map_err(at)?;
        let own = facts.uid() == rustix::process::getuid().as_raw();
        if !own || facts.permissions().mode() & 0o077 != 0 {
            let text = format!("{} must be ours and of mode 0700", folder.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        match std::fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(error)),
        }
        UnixListener::bind(path)
            .map(|listener| Self(Kind::Unix(listener)))
            .map_err(at)
    }

    /// The address of a TCP listener, with the port that the kernel chose.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Kind::Tcp(listener, _) => listener.local_addr().ok(),
            Kind::Unix(_) => None,
        }
    }

    /// The way by which its clients come.
    pub(crate) fn way(&self) -> Way {
        match &self.0 {
            Kind::Tcp(_, _) => Way::Tcp,
            Kind::Unix(_) => Way::Unix,
        }
    }

    /// Accepts a connection, and takes it from this runtime.
    pub(crate) async fn accept(&self) -> io::Result<Connection> {
        match &self.0 {
            Kind::Tcp(listener, tls) => {
                let (stream, _) = listener.accept().await?;
                let tls = tls.as_ref().map(ClientFacingTls::acceptor);
                Ok(Connection::Tcp(stream.into_std()?, tls))
            }
            Kind::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let peer = stream.peer_cred()?.uid();
                if peer != rustix::process::getuid().as_raw() {
                    return Err(io::Error::from(io::ErrorKind::PermissionDenied));
                }
                Ok(Connection::Unix(stream.into_std()?))
            }
        }
    }
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Bound").field(&self.local_addr()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn plaintext_is_for_loopback_only() {
        let refused = Bound::tcp("0.0.0.0:0".parse().expect("an address"), None).await;
        let text = refused.expect_err("refused").to_string();
        assert!(text.contains("client_certificate"), "{text}");
        assert!(
            Bound::tcp("127.0.0.1:0".parse().expect("an address"), None)
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn a_unix_socket_needs_a_folder_of_ours_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let mode =
            |mode| std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode));
        mode(0o755).expect("chmod");
        assert!(Bound::unix(&folder.path().join("gate.sock")).is_err());
        mode(0o700).expect("chmod");
        assert!(Bound::unix(&folder.path().join("gate.sock")).is_ok());
    }
}
