//! Certificates of the tests' own authorities.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// A root, and a folder with what it signs.
pub(crate) struct Root {
    pub(crate) folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Root {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).expect("a root");
        std::fs::write(folder.path().join("roots.pem"), certificate.pem()).expect("write");
        Self {
            folder,
            issuer: Issuer::new(params, key),
        }
    }

    /// The file of the root's own certificate.
    pub(crate) fn roots(&self) -> PathBuf {
        self.folder.path().join("roots.pem")
    }

    /// A server's certificate for a name, and its key, as PEM.
    pub(crate) fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        (certificate.pem(), key.serialize_pem())
    }

    /// The same in files.
    pub(crate) fn files(&self, name: &str) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.sign(name);
        let at = |end: &str| self.folder.path().join(format!("{name}.{end}"));
        let paths = (at("pem"), at("key"));
        std::fs::write(&paths.0, certificate).expect("write");
        std::fs::write(&paths.1, key).expect("write");
        std::fs::set_permissions(&paths.1, Permissions::from_mode(0o600)).expect("chmod");
        paths
    }
}
