//! The composition root: the database, the core, the handlers and the server.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use sandgate_api::token::v1::api_key_service_server::ApiKeyServiceServer;
use sandgate_api::token::v1::revocation_service_server::RevocationServiceServer;
use sandgate_api::token::v1::signing_key_service_server::SigningKeyServiceServer;
use sandgate_api::token::v1::tenant_service_server::TenantServiceServer;
use sandgate_api::token::v1::token_service_server::TokenServiceServer;
use sandgate_audit::{Log, Recording, ship_to};
use sandgate_db::OpenError;
use sandgate_rpc::{
    Channel, ChannelOptions, Listen, Part, Readiness, Server, ServerOptions, Shutdown, Target,
};
use sandgate_session::lease::Moment;
use sandgate_types::{Clock, Malformed, chain};

use crate::config::Config;
use crate::core::{Core, LoadError, Pending, Rules};
use crate::error::not_recorded;
use crate::feed::Moments;
use crate::grpc::Handlers;
use crate::keys::TendError;
use crate::master_key::MasterKey;
use crate::records::{self, Act};
use crate::signing::KeyringError;
use crate::store::Store;

/// How often a database that is not there is looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How often a database that is there is asked whether it still is.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// What runs after the last call has this long.
const JOIN_LIMIT: Duration = Duration::from_secs(10);

/// What the service is joined by.
#[derive(Debug)]
pub struct Ports {
    /// Where the other services connect.
    pub mesh: Vec<Listen>,
    /// The orchestrator, where everybody's audit records are collected.
    pub orchestrator: Target,
}

/// Why the service does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The audit log. Nothing is served without it.
    #[error(transparent)]
    Audit(#[from] sandgate_audit::OpenError),
    /// The master key.
    #[error(transparent)]
    MasterKey(#[from] Malformed),
    /// The database, for good: of another version, or of a role that may do too much.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// What is in the database cannot be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The server.
    #[error(transparent)]
    Server(#[from] sandgate_rpc::ServeError),
}

/// Serves until `shutdown` begins. While the database is missing it stays up, is not ready, and says why.
///
/// # Errors
/// [`ServeError`]: what waiting cannot mend.
pub async fn serve(
    config: Config,
    ports: Ports,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    serve_by(config, ports, clock, Arc::new(Moment::now), shutdown).await
}

/// [`serve`], by leases that count on another clock.
///
/// # Errors
/// See [`serve`].
pub async fn serve_by(
    config: Config,
    ports: Ports,
    clock: Arc<dyn Clock>,
    moments: Moments,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    let Config {
        database,
        master_key_file,
        feed_head_file,
        audit_dir,
        other_secrets,
        token_lifetime,
        signing_key_age,
        gates_end_with_us,
        drain_delay,
        reflection,
    } = config;
    let log = records::open(&audit_dir, Arc::clone(&clock))?;
    let master = MasterKey::read(&master_key_file)
        .and_then(|master| master.is_none_of(&other_secrets).map(|()| master));
    let master = match master {
        Ok(master) => Arc::new(master),
        Err(malformed) => {
            records::refused(&log, Act::OpenKeys, "MASTER_KEY_REFUSED").await;
            return Err(malformed.into());
        }
    };
    let shutdown = shutdown.child();
    let readiness = Readiness::new();
    let core = Pending::default();
    let failure = Arc::new(Mutex::new(None));
    let opening = Opening {
        database,
        master,
        rules: Rules {
            token_lifetime,
            signing_key_age,
            others_may_hold_leases: !gates_end_with_us,
            feed_head_file,
        },
        moments,
        clock,
        log: log.clone(),
        shutdown: shutdown.clone(),
        part: readiness.part("database"),
        core: Arc::clone(&core),
    };
    shutdown.spawn("database", {
        let (failure, shutdown) = (Arc::clone(&failure), shutdown.clone());
        async move {
            if let Err(error) = opening.run().await {
                *failure.lock() = Some(error);
                shutdown.begin();
            }
        }
    });
    let collector = Channel::new(ports.orchestrator, ChannelOptions::default());
    let shipping = ship_to(collector, audit_dir, shutdown.clone(), |_| {});
    shutdown.spawn("audit", shipping);
    let handlers = Handlers::new(Arc::clone(&core));
    let mut options = ServerOptions::new(readiness);
    options.drain_delay = drain_delay;
    options.reflection = reflection;
    let recording = Recording::new(log, not_recorded);
    let served = Server::new(options)
        .recording_refusals(Arc::new(recording.clone()))
        .service(recording.of(TokenServiceServer::new(handlers.clone())))
        .service(recording.of(RevocationServiceServer::new(handlers.clone())))
        .service(recording.of(SigningKeyServiceServer::new(handlers.clone())))
        .service(recording.of(TenantServiceServer::new(handlers.clone())))
        .service(recording.of(ApiKeyServiceServer::new(handlers)))
        .serve(ports.mesh, &shutdown)
        .await;
    shutdown.begin();
    if !shutdown.join(JOIN_LIMIT).await {
        tracing::warn!("tasks were left behind at the end");
    }
    if let Some(core) = core.get() {
        core.store.close().await;
    }
    let failed = failure.lock().take();
    failed.map_or(Ok(()), Err)?;
    Ok(served?)
}

/// Waits for the database, loads the core, and goes on asking whether the database is there.
struct Opening {
    database: sandgate_db::DatabaseUrl,
    master: Arc<MasterKey>,
    rules: Rules,
    moments: Moments,
    clock: Arc<dyn Clock>,
    log: Log,
    shutdown: Shutdown,
    part: Part,
    core: Arc<OnceLock<Arc<Core>>>,
}

impl Opening {
    async fn run(self) -> Result<(), ServeError> {
        let core = loop {
            match self.load().await {
                Ok(core) => break core,
                Err(error) if may_pass(&error) => self.part.missing(chain(&error)),
                Err(error) => {
                    if let ServeError::Load(
                        LoadError::Keys(_) | LoadError::Tend(TendError::Keyring(_)),
                    ) = &error
                    {
                        records::refused(&self.log, Act::OpenKeys, "SIGNING_KEY_REFUSED").await;
                    }
                    return Err(error);
                }
            }
            if !self.waited(LOOK_AGAIN).await {
                return Ok(());
            }
        };
        let core = Arc::new(core);
        let mut missing = core.feed.missing();
        // Set here alone, once.
        drop(self.core.set(Arc::clone(&core)));
        self.part.ready();
        loop {
            let goes_on = tokio::select! {
                goes_on = self.waited(ASK_AGAIN) => goes_on,
                // The feed ends with the core, which is ours.
                _changed = missing.changed() => true,
            };
            if !goes_on {
                return Ok(());
            }
            // Not only whether the database answers: whether it still has all that it had.
            match core.feed.catch_up(&core.store).await {
                Ok(()) => match core.tend(&self.log).await {
                    Ok(()) => self.part.ready(),
                    Err(error) => self.part.missing(chain(&error)),
                },
                Err(error) => self.part.missing(chain(&error)),
            }
        }
    }

    async fn load(&self) -> Result<Core, ServeError> {
        let store = Store::open(&self.database).await?;
        let core = Core::load(
            store,
            Arc::clone(&self.master),
            self.rules.clone(),
            &self.log,
            Arc::clone(&self.moments),
            Arc::clone(&self.clock),
            self.shutdown.clone(),
        );
        Ok(core.await?)
    }

    /// Waits; `false` when the end began meanwhile.
    async fn waited(&self, duration: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(duration) => true,
            () = self.shutdown.cancelled() => false,
        }
    }
}

/// Whether waiting may help.
fn may_pass(error: &ServeError) -> bool {
    match error {
        ServeError::Database(error) => error.may_pass(),
        ServeError::Load(LoadError::Store(error)) => error.is_transient(),
        ServeError::Load(
            LoadError::Keys(KeyringError::Empty)
            | LoadError::Tend(TendError::Keyring(KeyringError::Empty)),
        ) => true,
        ServeError::Load(LoadError::Tend(TendError::Store(error))) => error.is_transient(),
        ServeError::Load(
            LoadError::Keys(_)
            | LoadError::Tend(TendError::Keyring(_) | TendError::Seal(_) | TendError::Unrecorded(_))
            | LoadError::Witness(_)
            | LoadError::Random(_)
            | LoadError::Unrecorded(_),
        ) => false,
        ServeError::Audit(_) | ServeError::MasterKey(_) | ServeError::Server(_) => false,
    }
}
