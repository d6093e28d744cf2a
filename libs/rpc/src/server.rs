//! A server: services behind the guard, on any number of listeners, until the end begins.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use sandgate_api::METHODS;
use sandgate_telemetry::metric::Meters;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::{Routes, RoutesBuilder};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower_service::Service;

use crate::guard::GuardLayer;
use crate::limits::{
    HANDSHAKES, HEADER_LIST_MAX_BYTES, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, PENDING_RESETS,
    STREAMS_PER_CONNECTION,
};
use crate::trace::Instruments;
use crate::{Listen, Readiness, Refusals, Shutdown};

/// Calls that are on their way when the end begins have this long.
const GRACE: Duration = Duration::from_secs(10);
/// What is cut ends at once; this bounds our own mistakes.
const AFTER_CUT: Duration = Duration::from_secs(2);

/// What a server is like.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// What its health follows.
    pub readiness: Readiness,
    /// Whether it describes its methods to whoever connects.
    pub reflection: bool,
    /// How long it goes on taking connections after the end began, so that whoever sends them hears of it.
    pub drain_delay: Duration,
    /// How long calls on their way have after that.
    pub grace: Duration,
    /// Where its metrics go.
    pub meters: Meters,
}

impl ServerOptions {
    /// The defaults, with the health of `readiness`.
    pub fn new(readiness: Readiness) -> Self {
        Self {
            readiness,
            reflection: true,
            drain_delay: Duration::ZERO,
            grace: GRACE,
            meters: Meters::of_this_process(),
        }
    }
}

/// Why a server does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A method of ours does not say who may call it.
    #[error("{0} does not say who may call it: set the option sandgate.options.v1.access")]
    NoAccess(&'static str),
    /// A service has no method that we know.
    #[error("{0} is no service of ours")]
    UnknownService(&'static str),
    /// The transport failed.
    #[error("serve")]
    Transport(#[from] tonic::transport::Error),
    /// Reflection could not be built from our descriptors.
    #[error("describe the services")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// A server that is being put together.
#[derive(Debug)]
pub struct Server {
    options: ServerOptions,
    routes: RoutesBuilder,
    services: BTreeSet<&'static str>,
    refusals: Option<Arc<dyn Refusals>>,
}

impl Server {
    /// Without services yet.
    pub fn new(options: ServerOptions) -> Self {
        Self {
            options,
            routes: Routes::builder(),
            services: BTreeSet::new(),
            refusals: None,
        }
    }

    /// Has callers whom the method table refuses put on record, before their answer leaves.
    #[must_use]
    pub fn recording_refusals(mut self, refusals: Arc<dyn Refusals>) -> Self {
        self.refusals = Some(refusals);
        self
    }

    /// Adds a generated service.
    #[must_use]
    pub fn service<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.services.insert(S::NAME);
        self.routes.add_service(service);
        self
    }

    /// Serves until the end begins and the calls on their way are done.
    ///
    /// # Errors
    /// [`ServeError`], before anything is served where a method lacks its rule.
    pub async fn serve(
        self,
        listeners: Vec<Listen>,
        shutdown: &Shutdown,
    ) -> Result<(), ServeError> {
        let Self {
            options,
            mut routes,
            services,
            refusals,
        } = self;
        check_access(&services)?;
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter
            .set_service_status("", ServingStatus::NotServing)
            .await;
        routes.add_service(health);
        if options.reflection {
            add_reflection(&mut routes, &services)?;
        }
        let health_follows = follow_health(
            options.readiness.clone(),
            reporter,
            services,
            shutdown.clone(),
        );
        shutdown.spawn("health", health_follows);

        let stops_accepting = Shutdown::new();
        let (sender, accepted) = mpsc::channel(HANDSHAKES);
        for listener in listeners {
            shutdown.spawn(
                "listener",
                listener.accept_into(sender.clone(), stops_accepting.clone()),
            );
        }
        drop(sender);
        // tonic's connections outlive the future that accepted them; whatever ends it ends them too.
        let cut = CancellationToken::new();
        let _whatever_ends_this = cut.clone().drop_guard();
        let incoming = {
            let cut = cut.clone();
            ReceiverStream::new(accepted).map(move |io| Ok::<_, std::io::Error>(io.until(&cut)))
        };
        let drain = {
            let (shutdown, stops_accepting) = (shutdown.clone(), stops_accepting.clone());
            async move {
                shutdown.cancelled().await;
                tokio::time::sleep(options.drain_delay).await;
                stops_accepting.begin();
            }
        };
        let serving = tonic::transport::Server::builder()
            .layer(GuardLayer::new(
                Instruments::new(&options.meters),
                shutdown.clone(),
                refusals,
            ))
            .max_concurrent_streams(STREAMS_PER_CONNECTION)
            .http2_max_header_list_size(HEADER_LIST_MAX_BYTES)
            .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS))
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .add_routes(routes.routes())
            .serve_with_incoming_shutdown(incoming, drain);
        let out_of_time = async {
            stops_accepting.cancelled().await;
            tokio::time::sleep(options.grace).await;
        };
        let mut serving = Box::pin(serving);
        tokio::select! {
            served = &mut serving => return Ok(served?),
            () = out_of_time => {}
        }
        tracing::warn!("calls on their way are cut at the end of their grace");
        cut.cancel();
        match tokio::time::timeout(AFTER_CUT, serving).await {
            Ok(served) => Ok(served?),
            Err(_) => Ok(()),
        }
    }
}

/// Nothing is reachable by omission.
fn check_access(services: &BTreeSet<&'static str>) -> Result<(), ServeError> {
    for service in services {
        let of_service = |path: &str| {
            path.trim_start_matches('/')
                .split_once('/')
                .is_some_and(|(name, _)| name == *service)
        };
        let mut methods = METHODS
            .iter()
            .filter(|method| of_service(method.path))
            .peekable();
        if methods.peek().is_none() {
            return Err(ServeError::UnknownService(service));
        }
        for method in methods {
            if !method
                .access
                .as_ref()
                .is_some_and(sandgate_api::Access::is_complete)
            {
                return Err(ServeError::NoAccess(method.path));
            }
        }
    }
    Ok(())
}

fn add_reflection(
    routes: &mut RoutesBuilder,
    services: &BTreeSet<&'static str>,
) -> Result<(), ServeError> {
    let mut v1 = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(sandgate_api::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // What errors are detailed in, so that grpcurl can show it.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET);
    for service in services {
        v1 = v1.with_service_name(*service);
    }
    routes.add_service(v1.build_v1()?);
    Ok(())
}

/// Tells probes what the readiness says, and that nothing is served once the end began.
async fn follow_health(
    readiness: Readiness,
    reporter: HealthReporter,
    services: BTreeSet<&'static str>,
    shutdown: Shutdown,
) {
    let mut changes = readiness.subscribe();
    loop {
        let ready = readiness.is_ready() && !shutdown.is_begun();
        let status = if ready {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for name in services.iter().copied().chain([""]) {
            reporter.set_service_status(name, status).await;
        }
        if shutdown.is_begun() {
            return;
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = shutdown.cancelled() => {}
        }
    }
}
