//! By which roots the certificates of upstreams are verified: a file that the operator names, and no other.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sandgate_types::Malformed;

/// Roots, as two ways to speak TLS: with HTTP/2 only, and with both.
#[derive(Debug, Clone)]
pub(crate) struct Roots {
    pub(super) grpc: Arc<ClientConfig>,
    pub(super) http: Arc<ClientConfig>,
}

impl Roots {
    /// Reads a PEM file of CA certificates.
    ///
    /// # Errors
    /// The setting `field`, when the file cannot be read or holds none.
    pub(crate) fn read(field: &str, path: &Path) -> Result<Self, Malformed> {
        let refuse = |rule: &str| Malformed::new(field, format!("{rule} ({})", path.display()));
        let certificates = CertificateDer::pem_file_iter(path)
            .map_err(|_| refuse("must name a PEM file that can be read"))?;
        let mut store = RootCertStore::empty();
        for certificate in certificates {
            let certificate =
                certificate.map_err(|_| refuse("must name a file of PEM certificates"))?;
            store
                .add(certificate)
                .map_err(|_| refuse("must name a file of CA certificates"))?;
        }
        if store.is_empty() {
            return Err(refuse("must name a file with at least one CA certificate"));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = |protocols: &[&[u8]]| {
            let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .map_err(|_| refuse("cannot be used: no TLS version is left"))?
                .with_root_certificates(store.clone())
                .with_no_client_auth();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Ok::<_, Malformed>(Arc::new(config))
        };
        Ok(Self {
            grpc: config(&[b"h2"])?,
            http: config(&[b"http/1.1"])?,
        })
    }
}
