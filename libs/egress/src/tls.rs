//! By which roots the certificates of upstreams are verified: a file that the operator names, and no other.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use sandgate_rpc::{Watched, pem};
use sandgate_types::Malformed;

/// Roots that are looked at again and again.
#[derive(Debug, Clone)]
pub struct Roots(Arc<Watched<Ways>>);

/// Two ways to speak TLS: by HTTP/2, and by HTTP/1.1.
#[derive(Debug, Clone)]
pub(crate) struct Ways {
    pub(crate) grpc: Arc<ClientConfig>,
    pub(crate) http: Arc<ClientConfig>,
}

impl Roots {
    /// Reads a PEM file of CA certificates.
    ///
    /// # Errors
    /// The setting `field`, when the file cannot be read or holds none.
    pub fn read(field: &'static str, path: &Path) -> Result<Self, Malformed> {
        let file = path.to_owned();
        let watched = Watched::start([path.to_owned()], move || Ways::read(field, &file))?;
        Ok(Self(Arc::new(watched)))
    }

    /// How upstreams are verified now.
    pub(crate) fn current(&self) -> Ways {
        self.0.current()
    }

    /// Takes a file that has changed, and answers whether it did.
    ///
    /// # Errors
    /// What is wrong with it; the last good one goes on.
    pub fn look(&self) -> Result<bool, Malformed> {
        self.0.look()
    }
}

impl Ways {
    fn read(field: &str, path: &Path) -> Result<Self, Malformed> {
        let roots = Arc::new(pem::roots(field, path)?);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = |protocols: &[&[u8]]| {
            let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .map_err(|_| pem::refuse(field, "cannot be used: no TLS version is left", path))?
                .with_root_certificates(Arc::clone(&roots))
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
