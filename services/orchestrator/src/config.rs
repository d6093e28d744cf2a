//! Args → Config. Nothing after this asks whether something was set.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use sandgate_db::DatabaseUrl;
use sandgate_rpc::config::{Period, required};
use sandgate_types::{Malformed, Violations};

pub use self::args::Args;
use crate::life::Limits;
use crate::template::Templates;

mod args;

/// The shortest that a person can look at what ended.
const RETENTION_MIN: Duration = Duration::from_secs(60);
const RETENTION_MAX: Duration = Duration::from_secs(90 * 24 * 3600);
const RECONCILE_MIN: Duration = Duration::from_secs(1);
const RECONCILE_MAX: Duration = Duration::from_secs(3600);
/// Beyond what people and packages use.
pub const FIRST_UID: u32 = 2_000_000;
/// Uids below are people's and daemons'.
const FIRST_UID_MIN: u32 = 100_000;
/// Uids of 2^31 and more are taken for negative by some tools.
const FIRST_UID_MAX: u32 = 2_000_000_000;

/// What the service is.
#[derive(Debug, Clone)]
pub struct Config {
    /// The database.
    pub database: DatabaseUrl,
    /// What sandboxes can be made of.
    pub templates: Templates,
    /// How long things may take.
    pub limits: Limits,
    /// Whether gRPC reflection is served.
    pub reflection: bool,
}

impl Config {
    /// The defaults, for this database and the built-in template.
    pub fn new(database: DatabaseUrl) -> Self {
        Self {
            database,
            templates: Templates::built_in(),
            limits: Limits::default(),
            reflection: true,
        }
    }
}

/// What the service needs beside it as a process of its own.
#[derive(Debug, Clone)]
pub struct Process {
    /// The address.
    pub listen: SocketAddr,
    /// Our certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The root of all services.
    pub roots: PathBuf,
    /// Where token is.
    pub token: String,
    /// Where storage-sync is.
    pub storage: String,
    /// Where the gate's mesh listener is.
    pub gate: String,
    /// The first uid that root gives to sandboxes and keepers.
    pub first_uid: u32,
    /// The words that start sandboxd.
    pub sandboxd: Vec<OsString>,
    /// Where the gate gets links.
    pub links_socket: PathBuf,
}

impl TryFrom<Args> for (Config, Process) {
    type Error = Violations;

    fn try_from(args: Args) -> Result<Self, Violations> {
        let Args {
            database_url,
            templates,
            first_uid,
            sandboxd,
            links_socket,
            listen,
            tls_certificate,
            tls_key,
            tls_roots,
            token,
            storage,
            gate,
            retention,
            reconcile_interval,
            claim_limit,
            drain_limit,
            reflection,
        } = args;
        let mut violations = Violations::new();
        let database = required("database_url", database_url).and_then(|url| {
            url.parse::<DatabaseUrl>()
                .map_err(|malformed| Malformed::new("database_url", malformed.rule()))
        });
        let database = violations.check(database);
        let templates = match templates
            .map_or_else(|| Ok(Templates::built_in()), |path| Templates::load(&path))
        {
            Ok(templates) => Some(templates),
            Err(wrong) => {
                wrong.iter().cloned().for_each(|one| violations.push(one));
                None
            }
        };
        let defaults = Limits::default();
        let mut between = |key: &str,
                           period: Option<Period>,
                           default: Duration,
                           least: Duration,
                           most: Duration| {
            let value = period.map_or(default, |period| period.0);
            if !(least..=most).contains(&value) {
                let rule = format!("must be between {} and {}", Period(least), Period(most));
                violations.push(Malformed::new(key, rule));
            }
            value
        };
        let minutes = |count: u64| Duration::from_secs(count * 60);
        let second = Duration::from_secs(1);
        let limits = Limits {
            retention: between(
                "retention",
                retention,
                defaults.retention,
                RETENTION_MIN,
                RETENTION_MAX,
            ),
            reconcile: between(
                "reconcile_interval",
                reconcile_interval,
                defaults.reconcile,
                RECONCILE_MIN,
                RECONCILE_MAX,
            ),
            claim: between(
                "claim_limit",
                claim_limit,
                defaults.claim,
                second,
                minutes(10),
            ),
            drain: between(
                "drain_limit",
                drain_limit,
                defaults.drain,
                Duration::from_millis(1),
                minutes(10),
            ),
            ..defaults
        };
        let first_uid = first_uid.unwrap_or(FIRST_UID);
        if !(FIRST_UID_MIN..=FIRST_UID_MAX).contains(&first_uid) {
            let rule = format!("must be between {FIRST_UID_MIN} and {FIRST_UID_MAX}");
            violations.push(Malformed::new("first_uid", rule));
        }
        let process = (
            violations.check(required("listen", listen)),
            violations.check(required("tls_certificate", tls_certificate)),
            violations.check(required("tls_key", tls_key)),
            violations.check(required("tls_roots", tls_roots)),
            violations.check(required("token", token)),
            violations.check(required("storage", storage)),
            violations.check(required("gate", gate)),
            violations.check(required("sandboxd", sandboxd)),
            violations.check(required("links_socket", links_socket)),
        );
        let (
            Some(database),
            Some(templates),
            (
                Some(listen),
                Some(certificate),
                Some(key),
                Some(roots),
                Some(token),
                Some(storage),
                Some(gate),
                Some(sandboxd),
                Some(links_socket),
            ),
        ) = (database, templates, process)
        else {
            return Err(violations);
        };
        violations.or((
            Config {
                database,
                templates,
                limits,
                reflection: reflection.unwrap_or(true),
            },
            Process {
                listen,
                certificate,
                key,
                roots,
                token,
                storage,
                gate,
                first_uid,
                sandboxd: vec![sandboxd.into_os_string()],
                links_socket,
            },
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_missing_or_out_of_bounds_is_told_at_once() {
        let args = Args {
            retention: Some(Period(Duration::from_secs(1))),
            reconcile_interval: Some(Period(Duration::from_millis(1))),
            templates: Some("/nowhere/templates.yaml".into()),
            ..Args::default()
        };
        let refused = <(Config, Process)>::try_from(args).expect_err("refused");
        let fields: Vec<&str> = refused.iter().map(Malformed::field).collect();
        let expected = [
            "database_url",
            "templates",
            "retention",
            "reconcile_interval",
            "listen",
            "tls_certificate",
            "tls_key",
            "tls_roots",
            "token",
            "storage",
            "gate",
            "sandboxd",
            "links_socket",
        ];
        assert_eq!(fields, expected);
    }
}
