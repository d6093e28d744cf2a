//! What clients see of us: a certificate, by TLS 1.3 or 1.2, renewed without a restart.

use std::path::Path;
use std::sync::Arc;

use sandgate_rpc::pem::{chain, private_key, refuse};
use sandgate_rpc::{Certificates, Renewed, Shutdown};
use sandgate_types::Malformed;
use tokio_rustls::TlsAcceptor;

/// The settings that name its files.
const CERTIFICATE: &str = "client_certificate";
const KEY: &str = "client_key";

/// The certificate that clients see, of files that are looked at again for each client; a pair that cannot be used
/// changes nothing and is told in the log.
#[derive(Debug, Clone)]
pub struct ClientFacingTls(Renewed<TlsAcceptor>);

impl ClientFacingTls {
    /// Loads PEM files, a certificate chain and its key, and looks after them until the end begins.
    ///
    /// # Errors
    /// The setting, with the file; never what is in it.
    pub fn load(certificate: &Path, key: &Path, shutdown: &Shutdown) -> Result<Self, Malformed> {
        let files = [certificate, key].map(Path::to_owned);
        let [certificate, key] = files.clone();
        let read = move || acceptor(&certificate, &key);
        Renewed::start(Certificates::Clients, files, shutdown, read).map(Self)
    }

    /// What the next client is shown.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.0.current()
    }
}

fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, Malformed> {
    let refuse = |rule: &str| refuse(CERTIFICATE, rule, certificate);
    let (chain, key) = (chain(CERTIFICATE, certificate)?, private_key(KEY, key)?);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| refuse("cannot be used: no TLS version is left"))?
        .with_no_client_auth()
        .with_single_cert(chain, key);
    let mut config = config.map_err(|_| refuse("must be a certificate with its own key"))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
