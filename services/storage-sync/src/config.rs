//! Settings: `Args` as they are given, `Config` as it is used. The only reader of the environment.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use sandgate_db::DatabaseUrl;
use sandgate_rpc::config::{Period, SecretFile, Size};
use sandgate_types::{ByteSize, Malformed, Violations};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::storage::Bounds;
use crate::store::UploadBounds;

/// Endpoints of a cluster need a moment to hear that this one ends.
const DRAIN_DELAY: Duration = Duration::from_secs(3);
/// A hydrate of a large workspace on its way.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(30);
/// A workspace of a large disk, sent in one go.
const UPLOAD_MAX: ByteSize = ByteSize::gib(64);
/// A file that a person or program hands over.
const WRITE_MAX: ByteSize = ByteSize::gib(1);
/// As many as an upload of the default size has at the average length of a chunk.
const UPLOAD_CHUNKS_MAX: u64 = 1 << 20;
/// The runs of one conversation that were killed while they synced, within 24 h.
const UPLOADS_OPEN_MAX: u64 = 64;

/// Stores the files of conversations: versions of a workspace, content-addressed
#[derive(Debug, Parser, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Args {
    /// Where to listen for the mesh, such as 0.0.0.0:7403
    #[arg(long)]
    pub listen: Option<SocketAddr>,
    /// Where versions are kept: sqlite: and a path, or a Postgres URL without password
    #[arg(long)]
    pub database: Option<String>,
    /// A file that holds the database's URL, where that has a password
    #[arg(long)]
    pub database_file: Option<SecretFile>,
    /// Where objects are kept: a directory, or file:// and a directory
    #[arg(long)]
    pub objects: Option<String>,
    /// The PEM file of this service's certificate
    #[arg(long)]
    pub certificate: Option<PathBuf>,
    /// The PEM file of its private key
    #[arg(long)]
    pub key: Option<SecretFile>,
    /// The PEM file of the root that signs services
    #[arg(long)]
    pub service_roots: Option<PathBuf>,
    /// Whether to describe the methods to whoever connects
    #[arg(long)]
    pub reflection: Option<bool>,
    /// The most bytes that one sync may send, such as 64GiB
    #[arg(long)]
    pub upload_max: Option<Size>,
    /// The largest file that may be written without a sandbox, such as 1GiB
    #[arg(long)]
    pub write_max: Option<Size>,
    /// How long to go on taking calls after the end began
    #[arg(long)]
    pub drain_delay: Option<Period>,
    /// How long calls on their way have after that
    #[arg(long)]
    pub shutdown_grace: Option<Period>,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            listen: None,
            database: None,
            database_file: None,
            objects: None,
            certificate: None,
            key: None,
            service_roots: None,
            reflection: Some(true),
            upload_max: Some(Size(UPLOAD_MAX)),
            write_max: Some(Size(WRITE_MAX)),
            drain_delay: Some(Period(DRAIN_DELAY)),
            shutdown_grace: Some(Period(SHUTDOWN_GRACE)),
        }
    }
}

/// What the service is told, whoever runs it.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where versions are kept.
    pub database: DatabaseUrl,
    /// The directory of the objects; made when it is not there.
    pub objects: PathBuf,
    /// What callers may send.
    pub bounds: Bounds,
    /// Whether methods are described to whoever connects.
    pub reflection: bool,
    /// How long calls are taken after the end began.
    pub drain_delay: Duration,
    /// How long calls on their way have after that.
    pub grace: Duration,
}

impl Config {
    /// The defaults, with state in these places.
    pub fn new(database: DatabaseUrl, objects: PathBuf) -> Self {
        Self {
            database,
            objects,
            bounds: bounds(UPLOAD_MAX, WRITE_MAX),
            reflection: true,
            drain_delay: Duration::ZERO,
            grace: SHUTDOWN_GRACE,
        }
    }
}

/// What the binary is told beside that: its listener.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The address.
    pub listen: SocketAddr,
    /// Its certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The root that signs services.
    pub service_roots: PathBuf,
}

fn bounds(upload: ByteSize, write: ByteSize) -> Bounds {
    Bounds {
        upload: UploadBounds {
            chunks: UPLOAD_CHUNKS_MAX,
            bytes: upload.bytes(),
            open: UPLOADS_OPEN_MAX,
        },
        write_bytes: write.bytes(),
    }
}

impl TryFrom<Args> for (Config, Endpoint) {
    type Error = Violations;

    fn try_from(args: Args) -> Result<Self, Violations> {
        let Args {
            listen,
            database,
            database_file,
            objects,
            certificate,
            key,
            service_roots,
            reflection,
            upload_max,
            write_max,
            drain_delay,
            shutdown_grace,
        } = args;
        let mut violations = Violations::new();
        let database = violations.check(database_url(database, database_file));
        let objects = violations.check(required("objects", objects));
        let objects = objects.and_then(|text| violations.check(objects_directory(&text)));
        let listen = violations.check(required("listen", listen));
        let certificate = violations.check(required("certificate", certificate));
        let key = violations.check(required("key", key));
        let service_roots = violations.check(required("service_roots", service_roots));
        let upload_max = upload_max.map_or(UPLOAD_MAX, |size| size.0);
        let write_max = write_max.map_or(WRITE_MAX, |size| size.0);
        for (field, size) in [("upload_max", upload_max), ("write_max", write_max)] {
            if size.bytes() == 0 || size > ByteSize::gib(1 << 20) {
                violations.push(Malformed::new(field, "must be between 1B and 1024TiB"));
            }
        }
        match (database, objects, listen, certificate, key, service_roots) {
            (
                Some(database),
                Some(objects),
                Some(listen),
                Some(certificate),
                Some(key),
                Some(service_roots),
            ) => {
                let config = Config {
                    database,
                    objects,
                    bounds: bounds(upload_max, write_max),
                    reflection: reflection.unwrap_or(true),
                    drain_delay: drain_delay.map_or(DRAIN_DELAY, |period| period.0),
                    grace: shutdown_grace.map_or(SHUTDOWN_GRACE, |period| period.0),
                };
                let key = key.path().to_owned();
                let endpoint = Endpoint {
                    listen,
                    certificate,
                    key,
                    service_roots,
                };
                violations.or((config, endpoint))
            }
            _missing => Err(violations),
        }
    }
}

fn required<T>(field: &str, value: Option<T>) -> Result<T, Malformed> {
    value.ok_or_else(|| Malformed::new(field, "must be set"))
}

fn database_url(url: Option<String>, file: Option<SecretFile>) -> Result<DatabaseUrl, Malformed> {
    match (url, file) {
        (Some(url), None) => DatabaseUrl::parse(&SecretString::from(url)),
        (None, Some(file)) => DatabaseUrl::parse(&file.read("database_file")?),
        (None, None) => Err(Malformed::new("database", "must be set, or database_file")),
        (Some(_), Some(_)) => Err(Malformed::new(
            "database",
            "must not be set beside database_file",
        )),
    }
}

/// The directory that `objects` names. Other stores are refused by name: they are not built yet.
fn objects_directory(text: &str) -> Result<PathBuf, Malformed> {
    let refuse = |rule: String| Err(Malformed::new("objects", rule));
    let path = match text.split_once("://") {
        None => text,
        Some(("file", path)) => path,
        Some((scheme @ ("s3" | "s3a" | "gs" | "az" | "abfs" | "azure"), _)) => {
            return refuse(format!("must be a directory: {scheme}:// is not built yet"));
        }
        Some(_) => return refuse("must be a directory, or file:// and a directory".to_owned()),
    };
    if Path::new(path).is_absolute() {
        Ok(PathBuf::from(path))
    } else {
        refuse("must be an absolute path".to_owned())
    }
}

/// Where a test wants this process to die, read once.
#[cfg(feature = "crash-points")]
#[expect(
    clippy::disallowed_methods,
    reason = "this module is where the environment is read"
)]
pub(crate) fn crash_point() -> Option<&'static str> {
    static POINT: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    POINT
        .get_or_init(|| std::env::var("SANDGATE_CRASH_POINT").ok())
        .as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> Args {
        Args {
            listen: Some(([127, 0, 0, 1], 0).into()),
            database: Some("sqlite:/data/storage.db".to_owned()),
            objects: Some("file:///data/objects".to_owned()),
            certificate: Some("/tls/storage.pem".into()),
            key: serde_json::from_str("\"/tls/storage.key\"").expect("a path"),
            service_roots: Some("/tls/ca.pem".into()),
            ..Args::default()
        }
    }

    fn fields(args: Args) -> Vec<String> {
        let violations = <(Config, Endpoint)>::try_from(args).expect_err("refused");
        violations
            .iter()
            .map(|violation| violation.to_string())
            .collect()
    }

    #[test]
    fn complete_settings_are_a_configuration() {
        let (config, endpoint) = args().try_into().expect("complete");
        assert_eq!(config.objects, Path::new("/data/objects"));
        assert_eq!(endpoint.key, Path::new("/tls/storage.key"));
    }

    #[test]
    fn everything_that_is_missing_is_told_at_once() {
        assert_eq!(fields(Args::default()).len(), 6);
    }

    #[test]
    fn a_store_that_is_not_built_is_refused_by_name() {
        let with = |objects: &str| {
            fields(Args {
                objects: Some(objects.to_owned()),
                ..args()
            })
            .join("\n")
        };
        assert!(with("s3://bucket/x").contains("s3:// is not built yet"));
        assert!(with("gs://bucket").contains("gs:// is not built yet"));
        assert!(with("ftp://host").contains("must be a directory"));
        assert!(with("data/objects").contains("absolute"));
    }
}
