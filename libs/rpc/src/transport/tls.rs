//! Mutual TLS between services: each end shows a certificate of the service root, and its name is in the URI
//! `spiffe://sandgate/service/<name>`.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sandgate_types::Malformed;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::pem::{chain, private_key, refuse, roots};
use super::renewed::{Certificates, Renewed};
use super::stream::Connection;
use crate::identity::{service_from_name, service_name};
use crate::{Peer, Shutdown};
use sandgate_api::options::v1::Service;

const SPIFFE: &str = "spiffe://sandgate/service/";
const H2: &[u8] = b"h2";
/// The settings that name our files, in every service.
const CERTIFICATE: &str = "tls_certificate";
const KEY: &str = "tls_key";
const ROOTS: &str = "tls_roots";

/// A service's certificate, and the roots of the others': renewed on disk, they hold for each connection that is made
/// from then on. Those that were made before end when one of the roots is taken away, since it may have allowed them.
#[derive(Debug, Clone)]
pub struct ServiceTls(Renewed<Ends>);

/// Both ends of connections, of one and the same files.
#[derive(Clone)]
struct Ends {
    server: TlsAcceptor,
    client: TlsConnector,
    /// Ends the connections that rest on these roots.
    withdrawn: CancellationToken,
}

/// The roots that are in force.
#[derive(Default)]
struct InForce(Mutex<Option<(Arc<RootCertStore>, CancellationToken)>>);

impl InForce {
    /// Takes newer roots. When one that was in force is not among them, the connections of those before end.
    fn take(&self, newer: &Arc<RootCertStore>) -> CancellationToken {
        let mut in_force = self.0.lock();
        let (withdrawn, gone) = match in_force.take() {
            None => (CancellationToken::new(), None),
            Some((before, withdrawn)) => {
                let all_stay = before.roots.iter().all(|root| newer.roots.contains(root));
                if all_stay {
                    (withdrawn, None)
                } else {
                    (CancellationToken::new(), Some(withdrawn))
                }
            }
        };
        *in_force = Some((Arc::clone(newer), withdrawn.clone()));
        if let Some(gone) = gone {
            gone.cancel();
        }
        withdrawn
    }
}

/// What a server shows, and whose clients it takes.
#[derive(Debug, Clone)]
pub struct ServerTls(Renewed<Ends>);

/// What a client shows, and which service it wants at the other end.
#[derive(Clone)]
pub struct ClientTls {
    ends: Renewed<Ends>,
    expected: Service,
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClientTls(to {})", service_name(self.expected))
    }
}

impl ServiceTls {
    /// Loads PEM files: our certificate chain, its key, and the roots of all services. They are looked at again for
    /// each connection, and until the end begins.
    ///
    /// # Errors
    /// The setting, with the file; never what is in it.
    pub fn load(
        certificate: &Path,
        key: &Path,
        service_roots: &Path,
        shutdown: &Shutdown,
    ) -> Result<Self, Malformed> {
        let files = [certificate, key, service_roots].map(Path::to_owned);
        let [certificate, key, service_roots] = files.clone();
        let in_force = InForce::default();
        let read = move || Ends::read(&certificate, &key, &service_roots, &in_force);
        Renewed::start(Certificates::Services, files, shutdown, read).map(Self)
    }

    /// For a server.
    pub fn server(&self) -> ServerTls {
        ServerTls(self.0.clone())
    }

    /// For a client of `expected`.
    pub fn client(&self, expected: Service) -> ClientTls {
        ClientTls {
            ends: self.0.clone(),
            expected,
        }
    }
}

impl Ends {
    fn read(
        certificate: &Path,
        key: &Path,
        service_roots: &Path,
        in_force: &InForce,
    ) -> Result<Self, Malformed> {
        let no_version = |_| {
            refuse(
                CERTIFICATE,
                "cannot be used: no TLS version is left",
                certificate,
            )
        };
        let misfit = |_| {
            refuse(
                CERTIFICATE,
                "must be a certificate with its own key",
                certificate,
            )
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain = chain(CERTIFICATE, certificate)?;
        let key = private_key(KEY, key)?;
        let roots = Arc::new(roots(ROOTS, service_roots)?);
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()
                .map_err(|_| refuse(ROOTS, "must name a file of CA certificates", service_roots))?;
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(no_version)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(misfit)?;
        server.alpn_protocols = vec![H2.to_vec()];
        // No session is resumed: each connection proves itself afresh.
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(no_version)?
            .with_root_certificates(Arc::clone(&roots))
            .with_client_auth_cert(chain, key)
            .map_err(misfit)?;
        client.alpn_protocols = vec![H2.to_vec()];
        client.resumption = rustls::client::Resumption::disabled();
        Ok(Self {
            server: TlsAcceptor::from(Arc::new(server)),
            client: TlsConnector::from(Arc::new(client)),
            // Last, since from here on nothing is refused any more.
            withdrawn: in_force.take(&roots),
        })
    }
}

impl ServerTls {
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<Connection> {
        let Ends {
            server, withdrawn, ..
        } = self.0.current();
        let stream = server.accept(stream).await?;
        let certificates = stream.get_ref().1.peer_certificates();
        let peer = certificates
            .and_then(<[_]>::first)
            .and_then(service_of)
            .map_or(Peer::Anonymous, Peer::Service);
        Ok(Connection::new(stream, peer).until(&withdrawn))
    }
}

impl ClientTls {
    pub(super) async fn connect(&self, stream: TcpStream) -> io::Result<Connection> {
        // Certificates of services carry their own name as a DNS name too; who is meant is in the URI.
        let name = ServerName::try_from(service_name(self.expected))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let Ends {
            client, withdrawn, ..
        } = self.ends.current();
        let stream = client.connect(name.to_owned(), stream).await?;
        let certificates = stream.get_ref().1.peer_certificates();
        if certificates.and_then(<[_]>::first).and_then(service_of) == Some(self.expected) {
            Ok(Connection::new(stream, Peer::Service(self.expected)).until(&withdrawn))
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
