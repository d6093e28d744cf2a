//! Certificates and keys, as settings name them: PEM files. What is refused names setting and file, never content.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sandgate_types::Malformed;
use secrecy::ExposeSecret as _;

use crate::config::SecretFile;

/// A certificate and those that vouch for it.
///
/// # Errors
/// The setting `field`, when the file cannot be read.
pub fn chain(field: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Malformed> {
    CertificateDer::pem_file_iter(path)
        .map_err(|_| refuse(field, "must name a PEM file that can be read", path))?
        .collect::<Result<_, _>>()
        .map_err(|_| refuse(field, "must name a file of PEM certificates", path))
}

/// A certificate's key, from a file that nobody else can read.
///
/// # Errors
/// The setting `field`, when the file cannot be read, or by others too.
pub fn private_key(field: &str, path: &Path) -> Result<PrivateKeyDer<'static>, Malformed> {
    let text = SecretFile::from(path.to_owned()).read(field)?;
    PrivateKeyDer::from_pem_slice(text.expose_secret().as_bytes())
        .map_err(|_| refuse(field, "must name a file with a PEM private key", path))
}

/// The certificates of those who are believed when they vouch for others: at least one.
///
/// # Errors
/// The setting `field`, when the file cannot be read or holds none.
pub fn roots(field: &str, path: &Path) -> Result<RootCertStore, Malformed> {
    let mut store = RootCertStore::empty();
    for certificate in chain(field, path)? {
        store
            .add(certificate)
            .map_err(|_| refuse(field, "must name a file of CA certificates", path))?;
    }
    if store.is_empty() {
        let rule = "must name a file with at least one CA certificate";
        return Err(refuse(field, rule, path));
    }
    Ok(store)
}

/// What is wrong with a file.
pub fn refuse(field: &str, rule: &str, path: &Path) -> Malformed {
    Malformed::new(field, format!("{rule} ({})", path.display()))
}
