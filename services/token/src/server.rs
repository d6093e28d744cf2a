//! The composition root: the database, the core, the handlers and the server.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use sandgate_api::token::v1::api_key_service_server::ApiKeyServiceServer;
use sandgate_api::token::v1::revocation_service_server::RevocationServiceServer;
use sandgate_api::token::v1::tenant_service_server::TenantServiceServer;
use sandgate_api::token::v1::token_service_server::TokenServiceServer;
use sandgate_db::OpenError;
use sandgate_rpc::config::{Loaded, ProcessEnv, Stop, load};
use sandgate_rpc::{Listen, Part, Readiness, Server, ServerOptions, ServerTls, Shutdown};
use sandgate_session::lease::Moment;
use sandgate_types::{Clock, Malformed, SystemClock};

use crate::config::{Args, Config, Socket};
use crate::core::{Core, LoadError, Pending, Rules};
use crate::feed::Moments;
use crate::grpc::Handlers;
use crate::master_key::MasterKey;
use crate::signing::KeyringError;
use crate::store::Store;

/// The name of the process.
const PROCESS: &str = "sandgate-token";
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
}

/// Why the service does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
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
        token_lifetime,
        gates_end_with_us,
        drain_delay,
        reflection,
    } = config;
    let master = Arc::new(MasterKey::read(&master_key_file)?);
    let shutdown = shutdown.child();
    let readiness = Readiness::new();
    let core = Pending::default();
    let failure = Arc::new(Mutex::new(None));
    let opening = Opening {
        database,
        master,
        rules: Rules {
            token_lifetime,
            others_may_hold_leases: !gates_end_with_us,
            feed_head_file,
        },
        moments,
        clock,
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
    let handlers = Handlers::new(Arc::clone(&core));
    let mut options = ServerOptions::new(readiness);
    options.drain_delay = drain_delay;
    options.reflection = reflection;
    let served = Server::new(options)
        .service(TokenServiceServer::new(handlers.clone()))
        .service(RevocationServiceServer::new(handlers.clone()))
        .service(TenantServiceServer::new(handlers.clone()))
        .service(ApiKeyServiceServer::new(handlers))
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
                Err(error) => return Err(error),
            }
            if !self.waited(LOOK_AGAIN).await {
                return Ok(());
            }
        };
        let store = core.store.clone();
        // Set here alone, once.
        drop(self.core.set(Arc::new(core)));
        self.part.ready();
        while self.waited(ASK_AGAIN).await {
            match store.ping().await {
                Ok(()) => self.part.ready(),
                Err(error) => self.part.missing(chain(&error)),
            }
        }
        Ok(())
    }

    async fn load(&self) -> Result<Core, ServeError> {
        let store = Store::open(&self.database).await?;
        let core = Core::load(
            store,
            Arc::clone(&self.master),
            self.rules.clone(),
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
        ServeError::Load(LoadError::Keys(KeyringError::Empty)) => true,
        ServeError::Load(LoadError::Keys(_) | LoadError::Witness(_) | LoadError::Random(_)) => {
            false
        }
        ServeError::MasterKey(_) | ServeError::Server(_) => false,
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // A transparent error says what its source says.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// The process: settings, telemetry, sockets, serving, and the exit code.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let loaded = load::<Args>(PROCESS, arguments, &ProcessEnv);
    let (config, socket, telemetry) = match loaded.and_then(|Loaded { args, telemetry }| {
        let (config, socket) = args.try_into().map_err(Stop::from)?;
        Ok((config, socket, telemetry))
    }) {
        Ok(settings) => settings,
        Err(stop) => return stop.exit(),
    };
    match run(config, socket, &telemetry) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Said plainly: telemetry may be what failed. Whoever closed our output still gets the code.
            drop(writeln!(std::io::stderr(), "{PROCESS}: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(
    config: Config,
    socket: Socket,
    telemetry: &sandgate_telemetry::Settings,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let telemetry = sandgate_telemetry::init(telemetry)?;
        let Socket {
            listen,
            certificate,
            key,
            roots,
        } = socket;
        let tls = ServerTls::load(&certificate, &key, &roots)?;
        let mesh = vec![Listen::tcp(listen, Some(tls)).await?];
        let shutdown = Shutdown::new();
        shutdown.spawn("signals", until_told(shutdown.clone()));
        let served = serve(config, Ports { mesh }, Arc::new(SystemClock), shutdown).await;
        drop(telemetry);
        Ok(served?)
    })
}

/// Begins the end at the first SIGTERM or Ctrl-C; the runtime's end is the hard one.
async fn until_told(shutdown: Shutdown) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return;
    };
    tokio::select! {
        _told = terminate.recv() => shutdown.begin(),
        _told = tokio::signal::ctrl_c() => shutdown.begin(),
        () = shutdown.cancelled() => {}
    }
}
