//! The peers: HAProxy and Envoy with chains like ours, each one process with one thread, on a Unix socket.
//!
//! What they check: the token's signature and its expiry, one tenant's rate; they set the tenant as a header. That is
//! less than the gate does (no instance, no revocation, no record), and what their users would configure.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use sandgate_e2e::config;
use tokio::net::UnixStream;

use crate::tokens::Tokens;

/// Both are up in a fraction of it.
const START_LIMIT: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A chain of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chain {
    /// HAProxy, bytes only.
    Relay,
    /// HAProxy with HS256 and a stick table.
    Hs256,
    /// HAProxy with ES256 and a stick table.
    Es256,
    /// Envoy with ES256, its cache of tokens, and a local rate limit.
    Envoy,
    /// A proxy of ours that decides nothing.
    Ours,
}

/// A proxy; killed when dropped.
pub(crate) struct Peer {
    child: Child,
    socket: PathBuf,
}

impl Peer {
    /// Starts a chain toward the backend at this port, over `h2` or `h1`.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub(crate) async fn start(
        chain: Chain,
        folder: &Path,
        port: u16,
        upstream: &str,
        tokens: &Tokens,
    ) -> anyhow::Result<Self> {
        let name = format!("{chain:?}-{upstream}").to_lowercase();
        let socket = folder.join(format!("{name}.sock"));
        // One of the run before, which is gone.
        if socket.exists() {
            std::fs::remove_file(&socket)?;
        }
        let file = folder.join(format!("{name}.conf"));
        let child = match chain {
            Chain::Ours => crate::plain::start(&socket, port, upstream)?,
            Chain::Envoy => {
                std::fs::write(&file, envoy(&socket, port, upstream, tokens))?;
                let mut command = Command::new(config::envoy());
                command
                    .args(["--concurrency", "1", "--log-level", "error"])
                    .args(["--disable-hot-restart", "--config-path"])
                    .arg(&file);
                quietly(command)?
            }
            Chain::Relay | Chain::Hs256 | Chain::Es256 => {
                std::fs::write(&file, haproxy(chain, &socket, port, upstream, tokens))?;
                let mut command = Command::new(config::haproxy());
                command.args(["-db", "-q", "-f"]).arg(&file);
                quietly(command)?
            }
        };
        let mut peer = Self { child, socket };
        let mut looks = START_LIMIT.as_millis() / LOOK_EVERY.as_millis();
        while peer.connect().await.is_err() {
            if let Some(ended) = peer.child.try_wait()? {
                bail!("{name} ended by itself: {ended}");
            }
            looks -= 1;
            if looks == 0 {
                bail!("{name} does not listen");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(peer)
    }

    /// Another connection to it.
    ///
    /// # Errors
    /// When it does not accept one.
    pub(crate) async fn connect(&self) -> anyhow::Result<UnixStream> {
        Ok(UnixStream::connect(&self.socket).await?)
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn quietly(mut command: Command) -> anyhow::Result<Child> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().context("start a peer")
}

fn haproxy(chain: Chain, socket: &Path, port: u16, upstream: &str, tokens: &Tokens) -> String {
    let socket = socket.display();
    let head = "global\n  nbthread 1\n  maxconn 4000\n  tune.bufsize 32768\n\
        defaults\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  timeout http-request 10s\n";
    if chain == Chain::Relay {
        // Without splice, which moves bytes that nobody could look at.
        return format!(
            "{head}  mode tcp\n  option tcp-smart-accept\nlisten relay\n  bind unix@{socket}\n  server b 127.0.0.1:{port}\n"
        );
    }
    let protocol = if upstream == "h2" { " proto h2" } else { "" };
    let (algorithm, key) = match chain {
        Chain::Hs256 => ("HS256", tokens.secret.clone()),
        Chain::Es256 => ("ES256", tokens.public_key.display().to_string()),
        Chain::Relay | Chain::Envoy | Chain::Ours => ("", String::new()),
    };
    let rules = format!(
        "  http-request set-var(txn.bearer) http_auth_bearer\n\
             \x20 http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg')\n\
             \x20 http-request deny deny_status 401 unless {{ var(txn.alg) -m str {algorithm} }}\n\
             \x20 http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_verify(txn.alg,\"{key}\") 1 }}\n\
             \x20 http-request set-var(txn.exp) var(txn.bearer),jwt_payload_query('$.exp','int')\n\
             \x20 http-request set-var(txn.now) date()\n\
             \x20 http-request deny deny_status 401 if {{ var(txn.exp),sub(txn.now) -m int lt 0 }}\n\
             \x20 http-request set-var(txn.tenant) var(txn.bearer),jwt_payload_query('$.tenant')\n\
             \x20 http-request track-sc0 var(txn.tenant) table limits\n\
             \x20 http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt 100000000 }}\n\
             \x20 http-request del-header authorization\n\
             \x20 http-request set-header x-tenant %[var(txn.tenant)]\n"
    );
    format!(
        "{head}  mode http\n  http-reuse always\n\
         backend limits\n  stick-table type string len 64 size 100k expire 60s store http_req_rate(1s)\n\
         frontend f\n  bind unix@{socket} proto h2\n{rules}  default_backend b\n\
         backend b\n  server b 127.0.0.1:{port}{protocol}\n"
    )
}

fn envoy(socket: &Path, port: u16, upstream: &str, tokens: &Tokens) -> String {
    let mut protocol = if upstream == "h2" {
        serde_json::json!({"explicit_http_config": {"http2_protocol_options": {}}})
    } else {
        serde_json::json!({"explicit_http_config": {"http_protocol_options": {}}})
    };
    let typed = |name: &str| format!("type.googleapis.com/envoy.extensions.{name}");
    protocol["@type"] = typed("upstreams.http.v3.HttpProtocolOptions").into();
    let filters = serde_json::json!([
        {"name": "jwt", "typed_config": {
            "@type": typed("filters.http.jwt_authn.v3.JwtAuthentication"),
            "providers": {"p": {
                "issuer": "sandgate", "audiences": ["sandgate-agent"], "forward": false,
                "local_jwks": {"inline_string": tokens.jwks},
                "jwt_cache_config": {"jwt_cache_size": 2000},
                "claim_to_headers": [{"header_name": "x-tenant", "claim_name": "tenant"}],
            }},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}],
        }},
        {"name": "limit", "typed_config": {
            "@type": typed("filters.http.local_ratelimit.v3.LocalRateLimit"),
            "stat_prefix": "limit",
            "token_bucket": {"max_tokens": 100_000_000, "tokens_per_fill": 100_000_000, "fill_interval": "1s"},
            "filter_enabled": {"default_value": {"numerator": 100}},
            "filter_enforced": {"default_value": {"numerator": 100}},
        }},
        {"name": "router", "typed_config": {"@type": typed("filters.http.router.v3.Router")}},
    ]);
    serde_json::json!({"static_resources": {
        "listeners": [{
            "address": {"pipe": {"path": socket}},
            "filter_chains": [{"filters": [{"name": "hcm", "typed_config": {
                "@type": typed("filters.network.http_connection_manager.v3.HttpConnectionManager"),
                "stat_prefix": "in", "codec_type": "HTTP2", "http_filters": filters,
                "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "b", "timeout": "60s"}}]}]},
            }}]}],
        }],
        "clusters": [{
            "name": "b", "type": "STATIC", "connect_timeout": "5s",
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol},
            "circuit_breakers": {"thresholds": [{"max_requests": 100_000, "max_pending_requests": 100_000, "max_connections": 10_000}]},
            "load_assignment": {"cluster_name": "b", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {
                "socket_address": {"address": "127.0.0.1", "port_value": port}}}}]}]},
        }],
    }})
    .to_string()
}
