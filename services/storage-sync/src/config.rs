//! Settings: `Args` as they are given, `Config` as it is used. The only reader of the environment.

mod args;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sandgate_db::DatabaseUrl;
use sandgate_rpc::config::{SecretFile, required};
use sandgate_types::{ByteSize, Malformed, Violations};
use secrecy::SecretString;

pub use self::args::Args;

use crate::storage::Bounds;
use crate::store::UploadBounds;

/// Endpoints of a cluster need a moment to hear that this one ends.
const DRAIN_DELAY: Duration = Duration::from_secs(3);
/// A hydrate of a large workspace on its way.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(30);
const DRAIN_MAX: Duration = Duration::from_secs(60);
const GRACE_MAX: Duration = Duration::from_secs(300);
/// A workspace of a large disk, sent in one go.
const UPLOAD_MAX: ByteSize = ByteSize::gib(64);
/// A file that a person or program hands over.
const WRITE_MAX: ByteSize = ByteSize::gib(1);
/// As many as an upload of the default size has at the average length of a chunk.
const UPLOAD_CHUNKS_MAX: u64 = 1 << 20;
/// The runs of one conversation that were killed while they synced, within 24 h.
const UPLOADS_OPEN_MAX: u64 = 64;

/// What the service is told, whoever runs it.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where versions are kept.
    pub database: DatabaseUrl,
    /// The directory of the objects; made when it is not there.
    pub objects: PathBuf,
    /// Where the audit log is kept.
    pub audit_dir: PathBuf,
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
    pub fn new(database: DatabaseUrl, objects: PathBuf, audit_dir: PathBuf) -> Self {
        Self {
            database,
            objects,
            audit_dir,
            bounds: bounds(UPLOAD_MAX, WRITE_MAX),
            reflection: true,
            drain_delay: Duration::ZERO,
            grace: SHUTDOWN_GRACE,
        }
    }
}

/// What the binary is told beside that: its listener, and whom it calls.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Where the orchestrator is.
    pub orchestrator: String,
    /// The address.
    pub listen: SocketAddr,
    /// Its certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The root that signs services.
    pub roots: PathBuf,
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
            database_url: url,
            database_url_file,
            objects,
            audit_dir,
            orchestrator,
            listen,
            tls_certificate,
            tls_key,
            tls_roots,
            upload_max,
            write_max,
            drain_delay,
            grace,
            reflection,
        } = args;
        let mut violations = Violations::new();
        let database = violations.check(database_url(url, database_url_file));
        let objects = required("objects", objects).and_then(|text| objects_directory(&text));
        let objects = violations.check(objects);
        let audit_dir = violations.check(required("audit_dir", audit_dir));
        let orchestrator = violations.check(required("orchestrator", orchestrator));
        let listen = violations.check(required("listen", listen));
        let certificate = violations.check(required("tls_certificate", tls_certificate));
        let key = violations.check(required("tls_key", tls_key));
        let roots = violations.check(required("tls_roots", tls_roots));
        let upload_max = upload_max.map_or(UPLOAD_MAX, |size| size.0);
        let write_max = write_max.map_or(WRITE_MAX, |size| size.0);
        for (field, size) in [("upload_max", upload_max), ("write_max", write_max)] {
            if size.bytes() == 0 || size > ByteSize::gib(1 << 20) {
                violations.push(Malformed::new(field, "must be between 1B and 1024TiB"));
            }
        }
        let drain_delay = drain_delay.map_or(DRAIN_DELAY, |period| period.0);
        if drain_delay > DRAIN_MAX {
            violations.push(Malformed::new("drain_delay", "must be at most 60s"));
        }
        let grace = grace.map_or(SHUTDOWN_GRACE, |period| period.0);
        if grace > GRACE_MAX {
            violations.push(Malformed::new("grace", "must be at most 5m"));
        }
        let built = (|| {
            let config = Config {
                database: database?,
                objects: objects?,
                audit_dir: audit_dir?,
                bounds: bounds(upload_max, write_max),
                reflection: reflection.unwrap_or(true),
                drain_delay,
                grace,
            };
            let endpoint = Endpoint {
                orchestrator: orchestrator?,
                listen: listen?,
                certificate: certificate?,
                key: key?,
                roots: roots?,
            };
            Some((config, endpoint))
        })();
        match built {
            Some(built) => violations.or(built),
            None => Err(violations),
        }
    }
}

fn database_url(url: Option<String>, file: Option<SecretFile>) -> Result<DatabaseUrl, Malformed> {
    match (url, file) {
        (Some(url), None) => DatabaseUrl::parse(&SecretString::from(url)),
        (None, Some(file)) => DatabaseUrl::parse(&file.read("database_url_file")?),
        (None, None) => Err(Malformed::new(
            "database_url",
            "must be set, or database_url_file",
        )),
        (Some(_), Some(_)) => Err(Malformed::new(
            "database_url",
            "must not be set beside database_url_file",
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

#[cfg(test)]
mod tests;
