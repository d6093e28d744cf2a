//! Certificates of services: one root, and a certificate for each service that names it by a SPIFFE URI.
//!
//! They are made by `init` and by nothing else. The root's key is sealed in the database, so that a later
//! `init` issues what is missing; a file that is there is never touched.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use sandgate_rpc::{Service, service_name};
use sandgate_types::Timestamp;

use crate::master_key::{MasterKey, SealError, write_new};
use crate::store::StoredRoot;

/// The root of service certificates, as rows name it.
pub(crate) const SERVICE_ROOT: &str = "service";
/// Where roots are kept, as the associated data of what is sealed names it.
const TABLE: &str = "roots";
/// Who gets a certificate.
const SERVICES: [Service; 4] = [
    Service::Token,
    Service::Orchestrator,
    Service::AuthGateway,
    Service::StorageSync,
];
const SPIFFE: &str = "spiffe://sandgate/service/";
const ROOT_LIFE: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
const SERVICE_LIFE: Duration = Duration::from_secs(2 * 366 * 24 * 3600);
/// Clocks of other machines may be behind.
const BACKDATED: Duration = Duration::from_secs(3600);

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The library refused.
    #[error("make a certificate")]
    Make(#[from] rcgen::Error),
    /// The root's key.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A file.
    #[error("write {}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Makes the root.
///
/// # Errors
/// See [`CertificateError`].
pub(crate) fn make_root(
    master: &MasterKey,
    now: Timestamp,
) -> Result<StoredRoot, CertificateError> {
    let key = KeyPair::generate()?;
    let certificate = root_params(now).self_signed(&key)?.pem();
    let sealed = master.seal(TABLE, SERVICE_ROOT, &key.serialize_der())?;
    Ok(StoredRoot {
        name: SERVICE_ROOT.to_owned(),
        certificate,
        sealed,
        created_at: now,
    })
}

/// Writes `ca.pem`, and `<service>.pem` and `<service>.key` for each service, where they are missing.
///
/// # Errors
/// See [`CertificateError`].
pub(crate) fn write(
    folder: &Path,
    root: &StoredRoot,
    master: &MasterKey,
    now: Timestamp,
) -> Result<(), CertificateError> {
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| CertificateError::File { path, source }
    };
    std::fs::create_dir_all(folder).map_err(file(folder))?;
    put(&folder.join("ca.pem"), &root.certificate)?;
    let secret = master.open(TABLE, SERVICE_ROOT, &root.sealed)?;
    let issuer = Issuer::new(
        root_params(root.created_at),
        KeyPair::try_from(secret.as_slice())?,
    );
    for service in SERVICES {
        let name = service_name(service);
        let (certificate_file, key_file) = (
            folder.join(format!("{name}.pem")),
            folder.join(format!("{name}.key")),
        );
        if key_file.exists() && certificate_file.exists() {
            continue;
        }
        let key = KeyPair::generate()?;
        let certificate = service_params(name, now)?.signed_by(&key, &issuer)?;
        // The key first: a certificate without it would look finished. Half a pair is never completed by
        // another key, so it is refused here.
        write_new(&key_file, &key.serialize_pem()).map_err(file(&key_file))?;
        write_new(&certificate_file, &certificate.pem()).map_err(file(&certificate_file))?;
    }
    Ok(())
}

fn put(path: &Path, text: &str) -> Result<(), CertificateError> {
    match write_new(path, text) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(CertificateError::File {
            path: path.to_owned(),
            source: error,
        }),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn root_params(now: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("sandgate service root");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    lives(&mut params, now, ROOT_LIFE);
    params
}

fn service_params(service: &str, now: Timestamp) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(service);
    params.subject_alt_names = vec![
        SanType::DnsName(service.try_into()?),
        SanType::URI(format!("{SPIFFE}{service}").try_into()?),
    ];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    lives(&mut params, now, SERVICE_LIFE);
    Ok(params)
}

fn name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

fn lives(params: &mut CertificateParams, now: Timestamp, life: Duration) {
    let epoch = date_time_ymd(1970, 1, 1);
    let begin = now.minus(BACKDATED).since(Timestamp::EPOCH);
    params.not_before = epoch + begin;
    params.not_after = epoch + begin + life;
}
