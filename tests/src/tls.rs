//! Mutual TLS 1.3 over TCP under the services' root, as the mesh has it, for a bench that stands in for a service.

use std::io::{self, IoSlice};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::Context as _;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint};

/// One connection to the service `to`, with the certificate of the service `of`.
///
/// # Errors
/// When nobody serves there.
pub async fn channel(
    address: &str,
    certificates: &Path,
    of: &str,
    to: &'static str,
) -> anyhow::Result<Channel> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots(certificates)?)
        .with_client_auth_cert(chain(certificates, of)?, key(certificates, of)?)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let address = address.to_owned();
    let origin = Endpoint::from_shared(format!("http://{address}"))?;
    let connected = origin.connect_with_connector(tower::service_fn(move |_uri| {
        let (connector, address) = (connector.clone(), address.clone());
        async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(to).map_err(std::io::Error::other)?;
            let stream = connector.connect(name, stream).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    }));
    connected.await.context("connect")
}

/// Accepts connections of services, as the service `of`.
///
/// # Errors
/// When the certificates cannot be used.
fn acceptor(certificates: &Path, of: &str) -> anyhow::Result<TlsAcceptor> {
    let provider = Arc::new(default_provider());
    let clients = Arc::new(roots(certificates)?);
    let clients =
        WebPkiClientVerifier::builder_with_provider(clients, Arc::clone(&provider)).build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain(certificates, of)?, key(certificates, of)?)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn chain(certificates: &Path, name: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let file = certificates.join(format!("{name}.pem"));
    Ok(CertificateDer::pem_file_iter(file)?.collect::<Result<_, _>>()?)
}

fn key(certificates: &Path, name: &str) -> anyhow::Result<PrivateKeyDer<'static>> {
    Ok(PrivateKeyDer::from_pem_file(
        certificates.join(format!("{name}.key")),
    )?)
}

fn roots(certificates: &Path) -> anyhow::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for certificate in chain(certificates, "ca")? {
        store.add(certificate)?;
    }
    Ok(store)
}

/// Accepts connections of services on a listener, as the service `of`, until nobody takes them any more.
///
/// # Errors
/// When the certificates cannot be used, or the listener is gone.
pub async fn accept(
    listener: TcpListener,
    certificates: &Path,
    of: &str,
    accepted: mpsc::Sender<io::Result<Accepted>>,
) -> anyhow::Result<()> {
    let acceptor = acceptor(certificates, of)?;
    loop {
        let (stream, _from) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let stream = acceptor.accept(stream).await.map(Accepted);
        if accepted.send(stream).await.is_err() {
            return Ok(());
        }
    }
}

/// A connection of a service.
#[derive(Debug)]
pub struct Accepted(TlsStream<TcpStream>);

impl Connected for Accepted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
