//! Mutual TLS between services: each end shows a certificate of the service root, and its name is in the URI
//! `spiffe://sandgate/service/<name>`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::Peer;
use crate::identity::{service_from_name, service_name};
use sandgate_api::options::v1::Service;

const SPIFFE: &str = "spiffe://sandgate/service/";
const H2: &[u8] = b"h2";

/// Why certificates could not be used. Names the file, never what is in it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read as PEM.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not fit, or the roots are none.
    #[error("use the certificates: {0}")]
    Unusable(String),
}

/// What a server shows, and whose clients it takes.
#[derive(Clone)]
pub struct ServerTls(TlsAcceptor);

/// What a client shows, and which service it wants at the other end.
#[derive(Clone)]
pub struct ClientTls {
    connector: TlsConnector,
    expected: Service,
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerTls")
    }
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClientTls(to {})", service_name(self.expected))
    }
}

impl ServerTls {
    /// Loads PEM files: our certificate chain, its key, and the roots of our clients.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(certificate: &Path, key: &Path, client_roots: &Path) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let roots = Arc::new(roots(client_roots)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|error| TlsError::Unusable(error.to_string()))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| TlsError::Unusable(error.to_string()))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain(certificate)?, private_key(key)?)
            .map_err(|error| TlsError::Unusable(error.to_string()))?;
        config.alpn_protocols = vec![H2.to_vec()];
        // No session is resumed: each connection proves itself afresh.
        config.send_tls13_tickets = 0;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    pub(super) async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<(server::TlsStream<TcpStream>, Peer)> {
        let stream = self.0.accept(stream).await?;
        let certificates = stream.get_ref().1.peer_certificates();
        let peer = certificates
            .and_then(<[_]>::first)
            .and_then(service_of)
            .map_or(Peer::Anonymous, Peer::Service);
        Ok((stream, peer))
    }
}

impl ClientTls {
    /// Loads PEM files: our certificate chain, its key, and the roots of the server `expected`.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(
        certificate: &Path,
        key: &Path,
        server_roots: &Path,
        expected: Service,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| TlsError::Unusable(error.to_string()))?
            .with_root_certificates(roots(server_roots)?)
            .with_client_auth_cert(chain(certificate)?, private_key(key)?)
            .map_err(|error| TlsError::Unusable(error.to_string()))?;
        config.alpn_protocols = vec![H2.to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self {
            connector,
            expected,
        })
    }

    pub(super) async fn connect(
        &self,
        stream: TcpStream,
    ) -> io::Result<client::TlsStream<TcpStream>> {
        // Certificates of services carry their own name as a DNS name too; who is meant is in the URI.
        let name = ServerName::try_from(service_name(self.expected))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let stream = self.connector.connect(name.to_owned(), stream).await?;
        let certificates = stream.get_ref().1.peer_certificates();
        if certificates.and_then(<[_]>::first).and_then(service_of) == Some(self.expected) {
            Ok(stream)
        } else {
            let text = "the peer's certificate names another service";
            Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
        }
    }
}

/// The service that a verified certificate names: exactly one URI of ours.
fn service_of(certificate: &CertificateDer<'_>) -> Option<Service> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    let mut found = None;
    for name in &names.value.general_names {
        if let GeneralName::URI(uri) = name {
            let service = uri.strip_prefix(SPIFFE).and_then(service_from_name)?;
            if found.replace(service).is_some() {
                return None;
            }
        }
    }
    found
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = |source| TlsError::Read {
        path: path.to_owned(),
        source,
    };
    CertificateDer::pem_file_iter(path)
        .map_err(read)?
        .collect::<Result<_, _>>()
        .map_err(read)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in chain(path)? {
        store
            .add(certificate)
            .map_err(|error| TlsError::Unusable(error.to_string()))?;
    }
    Ok(store)
}
