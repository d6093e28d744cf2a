//! Settings as they are given: flags, variables, keys of the file, and their defaults.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use sandgate_rpc::config::{Period, SecretFile, Size};
use serde::{Deserialize, Serialize};

use super::{DRAIN_DELAY, SHUTDOWN_GRACE, UPLOAD_MAX, WRITE_MAX};

/// The settings of storage-sync.
#[derive(Debug, Parser, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[command(about = "Sandgate's storage-sync: versions of the files of conversations")]
pub struct Args {
    /// The database: sqlite:PATH or postgres://USER@HOST/DATABASE
    #[arg(long, env = "SANDGATE_STORAGE_SYNC_DATABASE_URL")]
    pub database_url: Option<String>,
    /// A file that holds the database's URL instead, mode 0600, where the URL has a password
    #[arg(long, env = "SANDGATE_STORAGE_SYNC_DATABASE_URL_FILE")]
    pub database_url_file: Option<SecretFile>,
    /// The directory in which files are kept, as an absolute path
    #[arg(long, env = "SANDGATE_STORAGE_SYNC_OBJECTS")]
    pub objects: Option<String>,
    /// Where the service keeps its audit log
    #[arg(long, env = "SANDGATE_STORAGE_SYNC_AUDIT_DIR")]
    pub audit_dir: Option<PathBuf>,
    /// Where the orchestrator is, which collects audit records: host:port
    #[arg(long, env = "SANDGATE_STORAGE_SYNC_ORCHESTRATOR")]
    pub orchestrator: Option<String>,
    /// The address on which services are served, with mutual TLS
    #[arg(long, env = "SANDGATE_STORAGE_SYNC_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Our certificate, PEM
    #[arg(long, env = "SANDGATE_STORAGE_SYNC_TLS_CERTIFICATE")]
    pub tls_certificate: Option<PathBuf>,
    /// The key of our certificate, PEM
    #[arg(long, env = "SANDGATE_STORAGE_SYNC_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// The root of the services' certificates, PEM
    #[arg(long, env = "SANDGATE_STORAGE_SYNC_TLS_ROOTS")]
    pub tls_roots: Option<PathBuf>,
    /// The most bytes that one sync may send: 1B to 1024TiB
    #[arg(long, env = "SANDGATE_STORAGE_SYNC_UPLOAD_MAX")]
    pub upload_max: Option<Size>,
    /// The largest file that may be written without a sandbox: 1B to 1024TiB
    #[arg(long, env = "SANDGATE_STORAGE_SYNC_WRITE_MAX")]
    pub write_max: Option<Size>,
    /// How long new connections are taken after the end began: at most 60s
    #[arg(long, env = "SANDGATE_STORAGE_SYNC_DRAIN_DELAY")]
    pub drain_delay: Option<Period>,
    /// How long calls on their way have after that: at most 5m
    #[arg(long, env = "SANDGATE_STORAGE_SYNC_GRACE")]
    pub grace: Option<Period>,
    /// Whether gRPC reflection is served
    #[arg(long, env = "SANDGATE_STORAGE_SYNC_REFLECTION")]
    pub reflection: Option<bool>,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            database_url: None,
            database_url_file: None,
            objects: None,
            audit_dir: None,
            orchestrator: None,
            listen: None,
            tls_certificate: None,
            tls_key: None,
            tls_roots: None,
            upload_max: Some(Size(UPLOAD_MAX)),
            write_max: Some(Size(WRITE_MAX)),
            drain_delay: Some(Period(DRAIN_DELAY)),
            grace: Some(Period(SHUTDOWN_GRACE)),
            reflection: Some(true),
        }
    }
}
