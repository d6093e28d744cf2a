//! The settings, as flags, variables and files name them.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::Parser;
use sandgate_rpc::config::Period;
use serde::{Deserialize, Serialize};

use super::{DRAIN_DELAY, GRACE, SANDBOX_RATE, TENANT_RATE};

/// What clients are used to.
const CLIENT_LISTEN: &str = "127.0.0.1:7070";

/// The settings of the auth-gateway.
#[derive(Debug, Parser, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[command(
    about = "Sandgate's auth-gateway: who may call what, as whom, how often, with which credential"
)]
pub struct Args {
    /// Where clients connect; in plaintext on loopback only
    #[arg(long, env = "SANDGATE_AUTH_GATEWAY_CLIENT_LISTEN")]
    pub client_listen: Option<SocketAddr>,
    /// A Unix socket for clients of our own user, in a folder of mode 0700
    #[arg(long, env = "SANDGATE_AUTH_GATEWAY_CLIENT_SOCKET")]
    pub client_socket: Option<PathBuf>,
    /// The certificate that clients see, PEM
    #[arg(long, env = "SANDGATE_AUTH_GATEWAY_CLIENT_CERTIFICATE")]
    pub client_certificate: Option<PathBuf>,
    /// The key of the certificate that clients see, PEM
    #[arg(long, env = "SANDGATE_AUTH_GATEWAY_CLIENT_KEY")]
    pub client_key: Option<PathBuf>,
    /// The address on which services are served, with mutual TLS
    #[arg(long, env = "SANDGATE_AUTH_GATEWAY_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Our certificate toward services, PEM
    #[arg(long, env = "SANDGATE_AUTH_GATEWAY_TLS_CERTIFICATE")]
    pub tls_certificate: Option<PathBuf>,
    /// The key of our certificate toward services, PEM
    #[arg(long, env = "SANDGATE_AUTH_GATEWAY_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// The root of the services' certificates, PEM
    #[arg(long, env = "SANDGATE_AUTH_GATEWAY_TLS_ROOTS")]
    pub tls_roots: Option<PathBuf>,
    /// Where the token service is: host:port
    #[arg(long, env = "SANDGATE_AUTH_GATEWAY_TOKEN")]
    pub token: Option<String>,
    /// Where the orchestrator is: host:port
    #[arg(long, env = "SANDGATE_AUTH_GATEWAY_ORCHESTRATOR")]
    pub orchestrator: Option<String>,
    /// Where storage-sync is: host:port
    #[arg(long, env = "SANDGATE_AUTH_GATEWAY_STORAGE")]
    pub storage: Option<String>,
    /// The orchestrator's Unix socket, from which links to instances come
    #[arg(long, env = "SANDGATE_AUTH_GATEWAY_LINKS_SOCKET")]
    pub links_socket: Option<PathBuf>,
    /// The policy: which upstreams sandboxes may call; without one, none
    #[arg(long, env = "SANDGATE_AUTH_GATEWAY_POLICY")]
    pub policy: Option<PathBuf>,
    /// Where the gate keeps its audit log
    #[arg(long, env = "SANDGATE_AUTH_GATEWAY_AUDIT_DIR")]
    pub audit_dir: Option<PathBuf>,
    /// CA certificates of https:// upstreams, PEM; without it, those are refused
    #[arg(long, env = "SANDGATE_AUTH_GATEWAY_UPSTREAM_ROOTS")]
    pub upstream_roots: Option<PathBuf>,
    /// Whether the policy may name upstreams on this machine by their loopback address
    #[arg(long, env = "SANDGATE_AUTH_GATEWAY_LOOPBACK_UPSTREAMS")]
    pub loopback_upstreams: Option<bool>,
    /// Requests of one sandbox in a second, over all routes
    #[arg(long, env = "SANDGATE_AUTH_GATEWAY_SANDBOX_RATE")]
    pub sandbox_rate: Option<NonZeroU32>,
    /// Control calls of one tenant in a second, at most twice as many at once
    #[arg(long, env = "SANDGATE_AUTH_GATEWAY_TENANT_RATE")]
    pub tenant_rate: Option<NonZeroU32>,
    /// Threads of the data path; by default one for each processor
    #[arg(long, env = "SANDGATE_AUTH_GATEWAY_WORKERS")]
    pub workers: Option<NonZeroUsize>,
    /// How long new connections are taken after the end began: at most 60s
    #[arg(long, env = "SANDGATE_AUTH_GATEWAY_DRAIN_DELAY")]
    pub drain_delay: Option<Period>,
    /// How long requests on their way have after that: at most 5m
    #[arg(long, env = "SANDGATE_AUTH_GATEWAY_GRACE")]
    pub grace: Option<Period>,
    /// Whether gRPC reflection is served
    #[arg(long, env = "SANDGATE_AUTH_GATEWAY_REFLECTION")]
    pub reflection: Option<bool>,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            client_listen: CLIENT_LISTEN.parse().ok(),
            client_socket: None,
            client_certificate: None,
            client_key: None,
            listen: None,
            tls_certificate: None,
            tls_key: None,
            tls_roots: None,
            token: None,
            orchestrator: None,
            storage: None,
            links_socket: None,
            policy: None,
            audit_dir: None,
            upstream_roots: None,
            loopback_upstreams: Some(true),
            sandbox_rate: Some(SANDBOX_RATE),
            tenant_rate: Some(TENANT_RATE),
            workers: None,
            drain_delay: Some(Period(DRAIN_DELAY)),
            grace: Some(Period(GRACE)),
            reflection: Some(true),
        }
    }
}
