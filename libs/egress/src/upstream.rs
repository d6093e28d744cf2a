//! Connections to upstreams. Each address is checked after resolution and before it is dialed, on every dial,
//! and redirects are never followed.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::uri::{Authority, Parts};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use sandgate_rpc::HEADER_LIST_MAX_BYTES;
use tonic::body::Body;

use crate::dial::{DialError, Dialer};
use crate::spec::{Scheme, UpstreamSpec};
use crate::tls::Roots;

/// Idle connections are kept this long: longer than an agent thinks, shorter than most servers wait.
const IDLE: Duration = Duration::from_secs(30);
/// Idle connections to one upstream, for each thread. Fewer than requests at once would close and dial for each of
/// the rest, which costs more than the request; a thread has at most as many requests of one sandbox under way.
const IDLE_MAX: usize = 1_024;

type UpstreamClient = Client<Dialer, Body>;

/// What every upstream needs to be dialed.
#[derive(Debug, Clone, Default)]
pub struct Dialing {
    /// By what certificates are verified; none refuses https.
    pub roots: Option<Roots>,
    /// Whether loopback may be named by its address.
    pub loopback: bool,
    /// Our own listeners.
    pub own: Arc<[SocketAddr]>,
}

/// Why an upstream did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It could not be resolved or connected to.
    Unreachable,
    /// The name leads to an address that is closed.
    AddressRefused,
    /// The connection broke, or it does not speak HTTP.
    Broken,
    /// It switched protocols, and not to what was asked for.
    Switched,
    /// It answered what asks for a WebSocket without taking it, as if that were a plain request.
    NotSwitched,
}

/// An upstream, with a pool of connections for each thread that calls it.
#[derive(Debug)]
pub struct Upstream {
    spec: UpstreamSpec,
    /// As it stands in each request; none for one that cannot.
    authority: Option<Authority>,
    dialing: Dialing,
    /// Whether it is spoken to in HTTP/2 only.
    grpc: bool,
    pools: Box<[OnceLock<UpstreamClient>]>,
}

impl Upstream {
    /// An upstream that nobody has called yet, for `threads` that each have connections of their own.
    #[must_use]
    pub fn new(spec: UpstreamSpec, grpc: bool, threads: usize, dialing: Dialing) -> Self {
        Self {
            authority: Authority::try_from(spec.authority()).ok(),
            spec,
            dialing,
            grpc,
            pools: (0..threads).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Sends a request over a connection of `thread`, of which the target counts and the rest of the URI is ours.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn send(
        &self,
        thread: usize,
        request: Request<Body>,
        target: &str,
    ) -> Result<Response<Incoming>, Failure> {
        let response = self.switch(thread, request, target).await?;
        if response.status() == http::StatusCode::SWITCHING_PROTOCOLS {
            return Err(Failure::Switched);
        }
        Ok(response)
    }

    /// The same for a request that asks to switch protocols, which the answer may do: whoever asked looks at it, and
    /// takes the connection from it.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn switch(
        &self,
        thread: usize,
        mut request: Request<Body>,
        target: &str,
    ) -> Result<Response<Incoming>, Failure> {
        *request.uri_mut() = self.uri(target).ok_or(Failure::Broken)?;
        *request.version_mut() = if self.grpc {
            http::Version::HTTP_2
        } else {
            http::Version::HTTP_11
        };
        let pool = self.pools.get(thread).or(self.pools.first());
        let Some(pool) = pool else {
            return Err(Failure::Broken);
        };
        let client = pool.get_or_init(|| self.client());
        client.request(request).await.map_err(|error| {
            let failure = failure_of(&error);
            tracing::debug!(failure = ?failure, error = %error, "an upstream did not answer");
            failure
        })
    }

    fn uri(&self, target: &str) -> Option<Uri> {
        let scheme = match self.spec.scheme {
            Scheme::Http => http::uri::Scheme::HTTP,
            Scheme::Https => http::uri::Scheme::HTTPS,
        };
        let mut parts = Parts::default();
        parts.scheme = Some(scheme);
        parts.authority.clone_from(&self.authority);
        parts.path_and_query = Some(target.parse().ok()?);
        Uri::from_parts(parts).ok()
    }

    fn client(&self) -> UpstreamClient {
        let dialer = Dialer::new(self.spec.clone(), self.grpc, self.dialing.clone());
        Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_MAX)
            .http2_only(self.grpc)
            .http2_max_header_list_size(HEADER_LIST_MAX_BYTES)
            .retry_canceled_requests(true)
            .build(dialer)
    }
}

fn failure_of(error: &hyper_util::client::legacy::Error) -> Failure {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(dial) = cause.downcast_ref::<DialError>() {
            return match dial {
                DialError::Refused(_) => Failure::AddressRefused,
                DialError::Resolve(_)
                | DialError::NoAddress
                | DialError::Connect(_)
                | DialError::Tls(_)
                | DialError::TooLate
                | DialError::NoRoots => Failure::Unreachable,
            };
        }
        source = cause.source();
    }
    if error.is_connect() {
        Failure::Unreachable
    } else {
        Failure::Broken
    }
}
