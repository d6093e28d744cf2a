//! Args → Config. Nothing after this asks whether something was set.

mod args;

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use sandgate_rpc::config::required;
use sandgate_types::{Malformed, Violations};

pub use args::Args;

/// Requests of one sandbox in a second: far more than an agent needs, far less than fills a processor.
const SANDBOX_RATE: NonZeroU32 = NonZeroU32::new(1_000).expect("a thousand is not zero");
/// Control calls of one tenant in a second: each writes a row or two, and services write a few hundred in a second, so
/// that one tenant cannot fill them for all.
const TENANT_RATE: NonZeroU32 = NonZeroU32::new(500).expect("five hundred is not zero");
/// Endpoints of a cluster take this long to hear that we end.
const DRAIN_DELAY: Duration = Duration::ZERO;
/// Requests on their way have this long then.
const GRACE: Duration = Duration::from_secs(10);
/// From a client's connection to its first request with a good key; past a slow network and a lookup of the key,
/// only somebody who holds a place that another could use is silent for longer.
const STRANGER_LIMIT: Duration = Duration::from_secs(10);
const DRAIN_MAX: Duration = Duration::from_secs(60);
const GRACE_MAX: Duration = Duration::from_secs(300);

/// What the gate is.
#[derive(Debug, Clone)]
pub struct Config {
    /// The policy; without one, sandboxes may call nothing.
    pub policy: Option<PathBuf>,
    /// Where the audit log is kept.
    pub audit_dir: PathBuf,
    /// CA certificates of https:// upstreams; without them, those are refused.
    pub upstream_roots: Option<PathBuf>,
    /// Whether upstreams may be on this machine, named by a loopback address.
    pub loopback_upstreams: bool,
    /// Requests of one sandbox in a second.
    pub sandbox_rate: NonZeroU32,
    /// Control calls of one tenant in a second.
    pub tenant_rate: NonZeroU32,
    /// How long a client's connection may be open before a request with a good key has come over it.
    pub stranger_limit: Duration,
    /// Threads of the data path; `None` for one each processor.
    pub workers: Option<NonZeroUsize>,
    /// How long new connections are taken after the end began.
    pub drain_delay: Duration,
    /// How long requests on their way have after that.
    pub grace: Duration,
    /// Whether gRPC reflection is served.
    pub reflection: bool,
}

impl Config {
    /// The defaults, with an audit log in `audit_dir` and without a policy.
    pub fn new(audit_dir: PathBuf) -> Self {
        Self {
            policy: None,
            audit_dir,
            upstream_roots: None,
            loopback_upstreams: true,
            sandbox_rate: SANDBOX_RATE,
            tenant_rate: TENANT_RATE,
            stranger_limit: STRANGER_LIMIT,
            workers: None,
            drain_delay: DRAIN_DELAY,
            grace: GRACE,
            reflection: true,
        }
    }
}

/// Where the gate listens and whom it calls, as a process of its own.
#[derive(Debug, Clone)]
pub(crate) struct Sockets {
    pub(crate) client_listen: Option<SocketAddr>,
    pub(crate) client_socket: Option<PathBuf>,
    pub(crate) client_tls: Option<(PathBuf, PathBuf)>,
    pub(crate) listen: SocketAddr,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) roots: PathBuf,
    pub(crate) token: String,
    pub(crate) orchestrator: String,
    pub(crate) storage: String,
    pub(crate) links_socket: PathBuf,
}

impl TryFrom<Args> for (Config, Sockets) {
    type Error = Violations;

    fn try_from(args: Args) -> Result<Self, Violations> {
        let Args {
            client_listen,
            client_socket,
            client_certificate,
            client_key,
            listen,
            tls_certificate,
            tls_key,
            tls_roots,
            token,
            orchestrator,
            storage,
            links_socket,
            policy,
            audit_dir,
            upstream_roots,
            loopback_upstreams,
            sandbox_rate,
            tenant_rate,
            workers,
            drain_delay,
            grace,
            reflection,
        } = args;
        let mut violations = Violations::new();
        let client_tls = match (client_certificate, client_key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => {
                violations.push(Malformed::new(
                    "client_key",
                    "must be set with client_certificate",
                ));
                None
            }
            (None, Some(_)) => {
                violations.push(Malformed::new(
                    "client_certificate",
                    "must be set with client_key",
                ));
                None
            }
        };
        if let Some(address) = client_listen
            && !address.ip().is_loopback()
            && client_tls.is_none()
        {
            let rule =
                "must be a loopback address while client_certificate and client_key are not set";
            violations.push(Malformed::new("client_listen", rule));
        }
        let listen = violations.check(required("listen", listen));
        let certificate = violations.check(required("tls_certificate", tls_certificate));
        let key = violations.check(required("tls_key", tls_key));
        let roots = violations.check(required("tls_roots", tls_roots));
        let token = violations.check(required("token", token));
        let orchestrator = violations.check(required("orchestrator", orchestrator));
        let storage = violations.check(required("storage", storage));
        let links_socket = violations.check(required("links_socket", links_socket));
        let audit_dir = violations.check(required("audit_dir", audit_dir));
        let drain_delay = drain_delay.map_or(DRAIN_DELAY, |period| period.0);
        if drain_delay > DRAIN_MAX {
            violations.push(Malformed::new("drain_delay", "must be at most 60s"));
        }
        let grace = grace.map_or(GRACE, |period| period.0);
        if grace > GRACE_MAX {
            violations.push(Malformed::new("grace", "must be at most 5m"));
        }
        let built = (|| {
            let config = Config {
                policy,
                audit_dir: audit_dir?,
                upstream_roots,
                loopback_upstreams: loopback_upstreams.unwrap_or(true),
                sandbox_rate: sandbox_rate.unwrap_or(SANDBOX_RATE),
                tenant_rate: tenant_rate.unwrap_or(TENANT_RATE),
                stranger_limit: STRANGER_LIMIT,
                workers,
                drain_delay,
                grace,
                reflection: reflection.unwrap_or(true),
            };
            let sockets = Sockets {
                client_listen,
                client_socket,
                client_tls,
                listen: listen?,
                certificate: certificate?,
                key: key?,
                roots: roots?,
                token: token?,
                orchestrator: orchestrator?,
                storage: storage?,
                links_socket: links_socket?,
            };
            Some((config, sockets))
        })();
        match built {
            Some(built) => violations.or(built),
            None => Err(violations),
        }
    }
}

#[cfg(test)]
mod tests {
    use sandgate_rpc::config::Period;

    use super::*;

    #[test]
    fn everything_that_is_missing_or_out_of_bounds_is_told_at_once() {
        let args = Args {
            client_listen: "0.0.0.0:7070".parse().ok(),
            client_certificate: Some("cert.pem".into()),
            grace: Some(Period(Duration::from_secs(301))),
            ..Args::default()
        };
        let refused = <(Config, Sockets)>::try_from(args).expect_err("refused");
        let fields: Vec<&str> = refused.iter().map(Malformed::field).collect();
        let expected = [
            "client_key",
            "client_listen",
            "listen",
            "tls_certificate",
            "tls_key",
            "tls_roots",
            "token",
            "orchestrator",
            "storage",
            "links_socket",
            "audit_dir",
            "grace",
        ];
        assert_eq!(fields, expected);
    }
}
