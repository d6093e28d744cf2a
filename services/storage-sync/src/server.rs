//! The composition root: the only place that makes pools, services and tasks.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};
use sandgate_api::storage::v1::sync_service_server::SyncServiceServer;
use sandgate_api::storage::v1::workspace_service_server::WorkspaceServiceServer;
use sandgate_audit::{Log, Recording, ship_to};
use sandgate_db::{Database, DatabaseUrl, OpenError};
use sandgate_rpc::{
    Channel, ChannelOptions, Listen, MESSAGE_MAX_BYTES, PageToken, Part, Readiness, Server,
    ServerOptions, Service, Shutdown, Target, service_name,
};
use sandgate_types::{AuditEventId, Clock, chain};

use crate::config::Config;
use crate::error::not_recorded;
use crate::grpc::{Late, Sync, Workspaces};
use crate::objects::Objects;
use crate::storage::Storage;
use crate::store::{MIGRATIONS, Store};
use crate::sweep;

/// How often a database that is missing is looked for, and one that is there asked whether it still is.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Where the service is reached, and whom it calls.
#[derive(Debug)]
pub struct Ports {
    /// The mesh: gate and orchestrator.
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
    /// The server.
    #[error(transparent)]
    Server(#[from] sandgate_rpc::ServeError),
}

/// Brings the database to this program's schema, creating what is missing.
///
/// # Errors
/// See [`OpenError`].
pub async fn migrate(url: &DatabaseUrl, clock: &dyn Clock) -> Result<(), OpenError> {
    MIGRATIONS.run(url, clock.now()).await
}

/// Serves until the end begins. Stays up, not ready, while its database or objects are missing.
///
/// # Errors
/// When it cannot serve at all.
pub async fn serve(
    config: Config,
    ports: Ports,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    let start = AuditEventId::random(&mut StdRng::from_os_rng());
    let service = service_name(Service::StorageSync);
    let log = Log::open(&config.audit_dir, service, &start, Arc::clone(&clock))?;
    let shipping = ship_to(
        Channel::new(ports.orchestrator, ChannelOptions::default()),
        config.audit_dir.clone(),
        shutdown.clone(),
        |_| {},
    );
    shutdown.spawn("audit", shipping);
    let readiness = Readiness::new();
    let parts = (readiness.part("database"), readiness.part("objects"));
    let storage = Late::default();
    let mut key = [0; 32];
    rand::rng().fill_bytes(&mut key);
    let workspaces = Workspaces::new(storage.clone(), PageToken::new(&key));
    let workspaces = WorkspaceServiceServer::new(workspaces)
        .max_decoding_message_size(MESSAGE_MAX_BYTES)
        .max_encoding_message_size(MESSAGE_MAX_BYTES);
    let sync = SyncServiceServer::new(Sync::new(storage.clone()))
        .max_decoding_message_size(MESSAGE_MAX_BYTES)
        .max_encoding_message_size(MESSAGE_MAX_BYTES);
    let options = ServerOptions {
        reflection: config.reflection,
        drain_delay: config.drain_delay,
        grace: config.grace,
        ..ServerOptions::new(readiness)
    };
    let finding = find(config, clock, storage, parts, shutdown.clone());
    shutdown.spawn("storage", finding);
    let recording = Recording::new(log, not_recorded);
    let server = Server::new(options)
        .recording_refusals(Arc::new(recording.clone()))
        .service(recording.of(workspaces))
        .service(recording.of(sync));
    Ok(server.serve(ports.mesh, &shutdown).await?)
}

/// Finds the database and the objects, sweeps, and goes on to say whether they are there.
async fn find(
    config: Config,
    clock: Arc<dyn Clock>,
    late: Late,
    (database, objects): (Part, Part),
    shutdown: Shutdown,
) {
    let found = async {
        let store = found_store(&config, &database).await;
        let directory = found_objects(&config.objects, &objects).await;
        Storage {
            store,
            objects: directory,
            bounds: config.bounds,
            clock,
        }
    };
    let storage = tokio::select! {
        storage = found => Arc::new(storage),
        () = shutdown.cancelled() => return,
    };
    late.found(Arc::clone(&storage));
    shutdown.spawn("sweep", sweep::run(Arc::clone(&storage), shutdown.clone()));
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = shutdown.cancelled() => return,
        }
        match storage.store.ping().await {
            Ok(()) => database.ready(),
            Err(_) => database.missing("does not answer"),
        }
    }
}

async fn found_store(config: &Config, part: &Part) -> Store {
    loop {
        match Database::open(&config.database, &MIGRATIONS).await {
            Ok(database) => {
                part.ready();
                return Store::new(database);
            }
            Err(error) => part.missing(chain(&error)),
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn found_objects(directory: &Path, part: &Part) -> Objects {
    loop {
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory);
        match made
            .map_err(|error| error.to_string())
            .and_then(|()| Objects::directory(directory).map_err(|error| error.to_string()))
        {
            Ok(objects) => {
                part.ready();
                return objects;
            }
            Err(error) => {
                let at = directory.display();
                part.missing(format!("cannot use the directory {at}: {error}"));
            }
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
