//! Args → Config. Nothing after this asks whether something was set.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use sandgate_db::DatabaseUrl;
use sandgate_rpc::config::{Period, SecretFile, required};
use sandgate_session::TOKEN_MAX;
use sandgate_types::{Malformed, Violations};
use serde::{Deserialize, Serialize};

/// A quarter of the longest: a token that leaked unseen is dead in minutes, and renewals are few.
const TOKEN_LIFETIME: Duration = Duration::from_secs(15 * 60);
/// Below this, renewals and clocks that differ by the leeway would meet.
const TOKEN_LIFETIME_MIN: Duration = Duration::from_secs(60);
/// Long enough that nobody waits for it, short enough that a key which leaked unseen is of no use for ever.
const SIGNING_KEY_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Several times what it takes for one key to follow another.
const SIGNING_KEY_AGE_MIN: Duration = Duration::from_secs(24 * 3600);
const SIGNING_KEY_AGE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// Endpoints of a cluster take this long to hear that we end.
const DRAIN_DELAY: Duration = Duration::from_secs(0);
const DRAIN_DELAY_MAX: Duration = Duration::from_secs(60);

/// The settings of the token service.
#[derive(Debug, Parser, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[command(about = "Sandgate's token service: sessions, keys, revocations, tenants and API keys")]
pub struct Args {
    /// The database: sqlite:PATH or postgres://USER@HOST/DATABASE
    #[arg(long, env = "SANDGATE_TOKEN_DATABASE_URL")]
    pub database_url: Option<String>,
    /// The file that holds the master key, mode 0600; `sandgate init` makes it
    #[arg(long, env = "SANDGATE_TOKEN_MASTER_KEY_FILE")]
    pub master_key_file: Option<PathBuf>,
    /// Where the head of the feed is noted, outside of the database and its backups
    #[arg(long, env = "SANDGATE_TOKEN_FEED_HEAD_FILE")]
    pub feed_head_file: Option<PathBuf>,
    /// Where the service keeps its audit log
    #[arg(long, env = "SANDGATE_TOKEN_AUDIT_DIR")]
    pub audit_dir: Option<PathBuf>,
    /// Where the orchestrator is, which collects audit records: host:port
    #[arg(long, env = "SANDGATE_TOKEN_ORCHESTRATOR")]
    pub orchestrator: Option<String>,
    /// The address on which services are served, with mutual TLS
    #[arg(long, env = "SANDGATE_TOKEN_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Our certificate, PEM
    #[arg(long, env = "SANDGATE_TOKEN_TLS_CERTIFICATE")]
    pub tls_certificate: Option<PathBuf>,
    /// The key of our certificate, PEM
    #[arg(long, env = "SANDGATE_TOKEN_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// The root of the services' certificates, PEM
    #[arg(long, env = "SANDGATE_TOKEN_TLS_ROOTS")]
    pub tls_roots: Option<PathBuf>,
    /// How long session tokens live: 1m to 1h
    #[arg(long, env = "SANDGATE_TOKEN_TOKEN_LIFETIME")]
    pub token_lifetime: Option<Period>,
    /// How long a signing key signs before the next one does: 1d to 365d
    #[arg(long, env = "SANDGATE_TOKEN_SIGNING_KEY_AGE")]
    pub signing_key_age: Option<Period>,
    /// How long new connections are taken after the end began: at most 60s
    #[arg(long, env = "SANDGATE_TOKEN_DRAIN_DELAY")]
    pub drain_delay: Option<Period>,
    /// Whether gRPC reflection is served
    #[arg(long, env = "SANDGATE_TOKEN_REFLECTION")]
    pub reflection: Option<bool>,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            database_url: None,
            master_key_file: None,
            feed_head_file: None,
            audit_dir: None,
            orchestrator: None,
            listen: None,
            tls_certificate: None,
            tls_key: None,
            tls_roots: None,
            token_lifetime: Some(Period(TOKEN_LIFETIME)),
            signing_key_age: Some(Period(SIGNING_KEY_AGE)),
            drain_delay: Some(Period(DRAIN_DELAY)),
            reflection: Some(true),
        }
    }
}

/// What the service is.
#[derive(Debug, Clone)]
pub struct Config {
    /// The database.
    pub database: DatabaseUrl,
    /// The master key.
    pub master_key_file: SecretFile,
    /// Where the feed's head is noted; `None` where a restored backup need not be found out.
    pub feed_head_file: Option<PathBuf>,
    /// Where the audit log is kept.
    pub audit_dir: PathBuf,
    /// Files with other secrets of ours; the master key must be none of them.
    pub other_secrets: Vec<PathBuf>,
    /// How long session tokens live.
    pub token_lifetime: Duration,
    /// How long a signing key signs before the next one does.
    pub signing_key_age: Duration,
    /// Whether gates end with this process, as in one process. Where they do not, revocations wait at the start
    /// until leases of an earlier process have lapsed.
    pub gates_end_with_us: bool,
    /// How long new connections are taken after the end began.
    pub drain_delay: Duration,
    /// Whether gRPC reflection is served.
    pub reflection: bool,
}

impl Config {
    /// The defaults, for these.
    pub fn new(database: DatabaseUrl, master_key_file: SecretFile, audit_dir: PathBuf) -> Self {
        Self {
            database,
            master_key_file,
            feed_head_file: None,
            audit_dir,
            other_secrets: Vec::new(),
            token_lifetime: TOKEN_LIFETIME,
            signing_key_age: SIGNING_KEY_AGE,
            gates_end_with_us: false,
            drain_delay: DRAIN_DELAY,
            reflection: true,
        }
    }
}

/// Where the service listens as a process of its own, and whom it calls.
#[derive(Debug, Clone)]
pub struct Socket {
    /// Where the orchestrator is.
    pub orchestrator: String,
    /// The address.
    pub listen: SocketAddr,
    /// Our certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The root of clients.
    pub roots: PathBuf,
}

impl TryFrom<Args> for (Config, Socket) {
    type Error = Violations;

    fn try_from(args: Args) -> Result<Self, Violations> {
        let Args {
            database_url,
            master_key_file,
            feed_head_file,
            audit_dir,
            orchestrator,
            listen,
            tls_certificate,
            tls_key,
            tls_roots,
            token_lifetime,
            signing_key_age,
            drain_delay,
            reflection,
        } = args;
        let mut violations = Violations::new();
        let database = required("database_url", database_url).and_then(|url| {
            url.parse::<DatabaseUrl>()
                .map_err(|malformed| Malformed::new("database_url", malformed.rule()))
        });
        let database = violations.check(database);
        let master_key_file = violations.check(required("master_key_file", master_key_file));
        let audit_dir = violations.check(required("audit_dir", audit_dir));
        let orchestrator = violations.check(required("orchestrator", orchestrator));
        let listen = violations.check(required("listen", listen));
        let certificate = violations.check(required("tls_certificate", tls_certificate));
        let key = violations.check(required("tls_key", tls_key));
        let roots = violations.check(required("tls_roots", tls_roots));
        let lifetime = token_lifetime.map_or(TOKEN_LIFETIME, |period| period.0);
        if !(TOKEN_LIFETIME_MIN..=TOKEN_MAX).contains(&lifetime) {
            violations.push(Malformed::new(
                "token_lifetime",
                "must be between 1m and 1h",
            ));
        }
        let age = signing_key_age.map_or(SIGNING_KEY_AGE, |period| period.0);
        if !(SIGNING_KEY_AGE_MIN..=SIGNING_KEY_AGE_MAX).contains(&age) {
            violations.push(Malformed::new(
                "signing_key_age",
                "must be between 1d and 365d",
            ));
        }
        let drain_delay = drain_delay.map_or(DRAIN_DELAY, |period| period.0);
        if drain_delay > DRAIN_DELAY_MAX {
            violations.push(Malformed::new("drain_delay", "must be at most 60s"));
        }
        let built = (|| {
            let config = Config {
                database: database?,
                master_key_file: SecretFile::from(master_key_file?),
                feed_head_file,
                audit_dir: audit_dir?,
                other_secrets: key.iter().cloned().collect(),
                token_lifetime: lifetime,
                signing_key_age: age,
                gates_end_with_us: false,
                drain_delay,
                reflection: reflection.unwrap_or(true),
            };
            Some((
                config,
                Socket {
                    orchestrator: orchestrator?,
                    listen: listen?,
                    certificate: certificate?,
                    key: key?,
                    roots: roots?,
                },
            ))
        })();
        match built {
            Some(built) => violations.or(built),
            None => Err(violations),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_missing_or_out_of_bounds_is_told_at_once() {
        let args = Args {
            token_lifetime: Some(Period(Duration::from_secs(3_601))),
            signing_key_age: Some(Period(Duration::from_secs(3_600))),
            drain_delay: Some(Period(Duration::from_secs(61))),
            ..Args::default()
        };
        let refused = <(Config, Socket)>::try_from(args).expect_err("refused");
        let fields: Vec<&str> = refused.iter().map(Malformed::field).collect();
        let expected = [
            "database_url",
            "master_key_file",
            "audit_dir",
            "orchestrator",
            "listen",
            "tls_certificate",
            "tls_key",
            "tls_roots",
            "token_lifetime",
            "signing_key_age",
            "drain_delay",
        ];
        assert_eq!(fields, expected);
    }
}
