//! The composition root: the database, the rules, the peers and the server.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};
use sandgate_backend::Backend;
use sandgate_db::{Database, DatabaseUrl, OpenError};
use sandgate_rpc::{
    Listen, PageToken, Part, Readiness, Server, ServerOptions, Service, Shutdown, Target,
    service_name,
};
use sandgate_types::{AuditEventId, Clock, Timestamp, chain};

use crate::config::Config;
use crate::grpc::Services;
use crate::life::{Life, Limits, Parts};
use crate::peers::{Peers, Probe};
use crate::store::{MIGRATIONS, Store};
use crate::template::Templates;

/// How often a database or peer that is not there is looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How often one that is there is asked whether it still is.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// What runs after the last call has this long.
const JOIN_LIMIT: Duration = Duration::from_secs(10);

/// What the service is joined by.
pub struct Ports {
    /// Where the other services connect.
    pub mesh: Vec<Listen>,
    /// Where instances come from.
    pub backend: Arc<dyn Backend>,
    /// The token service.
    pub token: Target,
    /// Storage-sync.
    pub storage: Target,
    /// The gate's mesh listener.
    pub gate: Target,
}

/// Why the service does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The database, for good: of another version, or of a role that may do too much.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// The server.
    #[error(transparent)]
    Server(#[from] sandgate_rpc::ServeError),
}

/// Brings the database to this program's schema, creating it where it is missing.
///
/// # Errors
/// [`OpenError`]; a newer database is refused untouched.
pub async fn migrate(url: &DatabaseUrl, now: Timestamp) -> Result<(), OpenError> {
    MIGRATIONS.run(url, now).await
}

/// Serves until `shutdown` begins; then suspends what runs, and ends. While the database is missing it stays
/// up, is not ready, and says why. Peers must outlive it: what is suspended is synced through them.
///
/// # Errors
/// [`ServeError`]: what waiting cannot mend.
pub async fn serve(
    config: Config,
    ports: Ports,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    let Config {
        database,
        templates,
        limits,
        reflection,
    } = config;
    let Ports {
        mesh,
        backend,
        token,
        storage,
        gate,
    } = ports;
    let readiness = Readiness::new();
    let peers = Peers::new(token, storage, gate);
    let work = Work {
        database,
        templates,
        limits,
        backend,
        peers,
        clock,
        database_part: readiness.part("database"),
        instances_part: readiness.part("instances"),
        life: Arc::new(OnceLock::new()),
        closing: shutdown,
        tasks: Shutdown::new(),
        halt: Shutdown::new(),
    };
    let ended = Arc::clone(&work.life);
    let (life, closing, tasks) = (
        Arc::clone(&work.life),
        work.closing.clone(),
        work.tasks.clone(),
    );
    for probe in work.peers.probes() {
        let part = readiness.part(probe.name());
        tasks.spawn("peer", watch_peer(part, probe, tasks.clone()));
    }
    let mut key = [0; 32];
    StdRng::from_os_rng().fill_bytes(&mut key);
    let services = Services::new(
        life,
        readiness.clone(),
        PageToken::new(&key),
        closing,
        tasks.clone(),
    );
    let failure = Arc::new(Mutex::new(None));
    let failed = Arc::clone(&failure);
    tasks.spawn("work", async move {
        let tasks = work.tasks.clone();
        if let Err(error) = work.run().await {
            *failed.lock() = Some(error);
        }
        tasks.begin();
    });
    let mut options = ServerOptions::new(readiness);
    options.reflection = reflection;
    let served = services
        .serve_on(Server::new(options))
        .serve(mesh, &tasks)
        .await;
    tasks.begin();
    if !tasks.join(JOIN_LIMIT).await {
        tracing::warn!("tasks were left behind at the end");
    }
    if let Some(life) = ended.get()
        && let Err(error) = life.store.release(&life.owner).await
    {
        tracing::debug!(%error, "others have what is left when our leases are over");
    }
    let failed = failure.lock().take();
    failed.map_or(Ok(()), |error| Err(ServeError::Database(error)))?;
    Ok(served?)
}

/// What is done beside answering calls, from the first look for the database to the last suspend.
struct Work {
    database: DatabaseUrl,
    templates: Templates,
    limits: Limits,
    backend: Arc<dyn Backend>,
    peers: Peers,
    clock: Arc<dyn Clock>,
    database_part: Part,
    instances_part: Part,
    life: Arc<OnceLock<Arc<Life>>>,
    /// Begun when no new work is taken.
    closing: Shutdown,
    /// Begun when what runs is suspended.
    tasks: Shutdown,
    /// Begun when nothing is waited for any more.
    halt: Shutdown,
}

impl Work {
    async fn run(self) -> Result<(), OpenError> {
        let Some(life) = self.open().await? else {
            return Ok(());
        };
        // What a crash left is found before anything is begun that could be taken for it.
        while !life.reconcile(true).await {
            self.instances_part
                .missing("rows and instances could not be compared yet");
            if !self.waited(LOOK_AGAIN).await {
                return Ok(());
            }
        }
        self.instances_part.ready();
        // Set here alone, once.
        drop(self.life.set(Arc::clone(&life)));
        self.tasks
            .spawn("attend", Arc::clone(&life).attend(self.tasks.clone()));
        while self.waited(ASK_AGAIN).await {
            match life.store.ping().await {
                Ok(()) => self.database_part.ready(),
                Err(error) => self.database_part.missing(chain(&error)),
            }
        }
        life.suspend_all().await;
        self.halt.begin();
        Ok(())
    }

    /// Waits for the database; `None` when the end came first.
    async fn open(&self) -> Result<Option<Arc<Life>>, OpenError> {
        loop {
            match Database::open(&self.database, &MIGRATIONS).await {
                Ok(database) => {
                    self.database_part.ready();
                    return Ok(Some(self.life_with(database)));
                }
                Err(error) if error.may_pass() => self.database_part.missing(chain(&error)),
                Err(error) => return Err(error),
            }
            if !self.waited(LOOK_AGAIN).await {
                return Ok(None);
            }
        }
    }

    fn life_with(&self, database: Database) -> Arc<Life> {
        let owner = AuditEventId::random(&mut StdRng::from_os_rng());
        let writer = format!("{}/{owner}", service_name(Service::Orchestrator));
        let store = Store::new(database, writer, Arc::clone(&self.clock));
        Life::new(Parts {
            templates: self.templates.clone(),
            limits: self.limits.clone(),
            store,
            backend: Arc::clone(&self.backend),
            peers: self.peers.clone(),
            clock: Arc::clone(&self.clock),
            owner: owner.as_str().to_owned(),
            tasks: self.tasks.clone(),
            halt: self.halt.clone(),
        })
    }

    /// Waits; `false` when the end began meanwhile.
    async fn waited(&self, duration: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(duration) => true,
            () = self.closing.cancelled() => false,
        }
    }
}

/// Says whether a peer is there, until the end begins.
async fn watch_peer(part: Part, probe: Probe, shutdown: Shutdown) {
    loop {
        let pause = match probe.reach().await {
            Ok(()) => {
                part.ready();
                ASK_AGAIN
            }
            Err(missing) => {
                part.missing(missing);
                LOOK_AGAIN
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return,
        }
    }
}
