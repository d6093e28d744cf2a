//! What is set, as it is set: on the command line, in the environment or in a file.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use sandgate_rpc::config::Period;
use serde::{Deserialize, Serialize};

use super::FIRST_UID;
use crate::life::Limits;

/// The settings of the orchestrator.
#[derive(Debug, Parser, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[command(about = "Sandgate's orchestrator: the life of a sandbox, and the local backend")]
pub struct Args {
    /// The database: sqlite:PATH or postgres://USER@HOST/DATABASE
    #[arg(long, env = "SANDGATE_ORCHESTRATOR_DATABASE_URL")]
    pub database_url: Option<String>,
    /// The YAML file of templates; without it there is the built-in one, `default`
    #[arg(long, env = "SANDGATE_ORCHESTRATOR_TEMPLATES")]
    pub templates: Option<PathBuf>,
    /// The first uid that root gives to sandboxes and their keepers, two for each
    #[arg(long, env = "SANDGATE_ORCHESTRATOR_FIRST_UID")]
    pub first_uid: Option<u32>,
    /// The program sandboxd, which the local backend starts
    #[arg(long, env = "SANDGATE_ORCHESTRATOR_SANDBOXD")]
    pub sandboxd: Option<PathBuf>,
    /// The Unix socket at which the gate gets the links to instances, in a directory of ours alone
    #[arg(long, env = "SANDGATE_ORCHESTRATOR_LINKS_SOCKET")]
    pub links_socket: Option<PathBuf>,
    /// The address on which services are served, with mutual TLS
    #[arg(long, env = "SANDGATE_ORCHESTRATOR_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Our certificate, PEM
    #[arg(long, env = "SANDGATE_ORCHESTRATOR_TLS_CERTIFICATE")]
    pub tls_certificate: Option<PathBuf>,
    /// The key of our certificate, PEM
    #[arg(long, env = "SANDGATE_ORCHESTRATOR_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// The root of the services' certificates, PEM
    #[arg(long, env = "SANDGATE_ORCHESTRATOR_TLS_ROOTS")]
    pub tls_roots: Option<PathBuf>,
    /// Where token is: HOST:PORT
    #[arg(long, env = "SANDGATE_ORCHESTRATOR_TOKEN")]
    pub token: Option<String>,
    /// Where storage-sync is: HOST:PORT
    #[arg(long, env = "SANDGATE_ORCHESTRATOR_STORAGE")]
    pub storage: Option<String>,
    /// Where the gate's mesh listener is: HOST:PORT
    #[arg(long, env = "SANDGATE_ORCHESTRATOR_GATE")]
    pub gate: Option<String>,
    /// How long ended sandboxes stay readable: 1m to 2160h
    #[arg(long, env = "SANDGATE_ORCHESTRATOR_RETENTION")]
    pub retention: Option<Period>,
    /// How often rows and instances are compared: 1s to 1h
    #[arg(long, env = "SANDGATE_ORCHESTRATOR_RECONCILE_INTERVAL")]
    pub reconcile_interval: Option<Period>,
    /// How long a claim may take, cold starts included: 1s to 10m
    #[arg(long, env = "SANDGATE_ORCHESTRATOR_CLAIM_LIMIT")]
    pub claim_limit: Option<Period>,
    /// How long suspending everything may take at the end: at most 10m
    #[arg(long, env = "SANDGATE_ORCHESTRATOR_DRAIN_LIMIT")]
    pub drain_limit: Option<Period>,
    /// Whether gRPC reflection is served
    #[arg(long, env = "SANDGATE_ORCHESTRATOR_REFLECTION")]
    pub reflection: Option<bool>,
}

impl Default for Args {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            database_url: None,
            templates: None,
            first_uid: Some(FIRST_UID),
            sandboxd: None,
            links_socket: None,
            listen: None,
            tls_certificate: None,
            tls_key: None,
            tls_roots: None,
            token: None,
            storage: None,
            gate: None,
            retention: Some(Period(limits.retention)),
            reconcile_interval: Some(Period(limits.reconcile)),
            claim_limit: Some(Period(limits.claim)),
            drain_limit: Some(Period(limits.drain)),
            reflection: Some(true),
        }
    }
}
