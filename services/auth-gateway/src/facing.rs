//! What clients see of us: a certificate, by TLS 1.3 or 1.2, renewed without a restart.

use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sandgate_types::Malformed;
use tokio_rustls::TlsAcceptor;

use crate::watched::Watched;

/// The certificate that clients see. Its files are looked at every two seconds while the gate serves; a pair that
/// cannot be used changes nothing and is told in the log.
#[derive(Clone)]
pub struct ClientFacingTls(Arc<Watched<TlsAcceptor>>);

impl ClientFacingTls {
    /// Loads PEM files: a certificate chain and its key.
    ///
    /// # Errors
    /// The setting `field`, with the file; never what is in it.
    pub fn load(field: &str, certificate: &Path, key: &Path) -> Result<Self, Malformed> {
        let files = [certificate.to_owned(), key.to_owned()];
        let field = field.to_owned();
        let [chain, private] = files.clone();
        let read = move || acceptor(&field, &chain, &private);
        Ok(Self(Arc::new(Watched::start(files, read)?)))
    }

    /// What the next client is shown.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.0.current()
    }

    /// Takes files that have changed, and answers whether they did.
    ///
    /// # Errors
    /// What is wrong with them; the last good pair goes on.
    pub(crate) fn look(&self) -> Result<bool, Malformed> {
        self.0.look()
    }
}

fn acceptor(field: &str, certificate: &Path, key: &Path) -> Result<TlsAcceptor, Malformed> {
    let refuse =
        |rule: &str, path: &Path| Malformed::new(field, format!("{rule} ({})", path.display()));
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate)
        .map_err(|_| refuse("must name a PEM file that can be read", certificate))?
        .collect();
    let chain = chain.map_err(|_| refuse("must name PEM certificates", certificate))?;
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|_| refuse("must name a PEM private key that can be read", key))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| refuse("cannot be used: no TLS version is left", certificate))?
        .with_no_client_auth()
        .with_single_cert(chain, private);
    let mut config =
        config.map_err(|_| refuse("must be a certificate with its own key", certificate))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

impl std::fmt::Debug for ClientFacingTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientFacingTls").finish_non_exhaustive()
    }
}
