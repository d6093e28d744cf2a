//! The instance as a whole: a spare, then one conversation's, then ending. Everything that its services act on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sandgate_rpc::Shutdown;
use sandgate_session::{Ticket, TokenRefusal};
use sandgate_types::{Clock, Generation, InstanceId, RouteName, SandboxId, SessionId};
use sandgate_workspace::ChunkingSeed;
use tokio::sync::oneshot;

use super::activity::Activity;
use super::environment::{Environment, LISTENER_PORT};
use super::gate::{DaemonChannel, Gate};
use super::identity::{Identity, Phase, SharedIdentity, Tokens};
use super::peers::{Reports, Versions};
use super::process::{End, Process};
use super::processes::{Launch, Processes, StartError};
use super::renew;
use super::report::Reporter;
use super::runner::{Runner, RunnerError};
use super::sync::{Hydration, Parts, Start, Syncer};

/// Where processes start when they say nothing else.
pub(crate) const WORKSPACE: &str = "/workspace";
/// How long a call waits for the workspace to be brought in: below the time that its first answer has.
const HYDRATE_WAIT: Duration = Duration::from_secs(8);
/// What is kept of the output of the template's command.
const LAST_OUTPUT_BYTES: usize = 64 * 1024;

/// What Attach gives.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) ticket: String,
    pub(crate) session: SessionId,
    pub(crate) sandbox: SandboxId,
    pub(crate) generation: Generation,
    pub(crate) tokens: Tokens,
    pub(crate) environment: Environment,
    pub(crate) workspace_version: String,
    pub(crate) chunking_seed: ChunkingSeed,
    pub(crate) command: Vec<String>,
    pub(crate) ports: BTreeSet<u16>,
    pub(crate) routes: Vec<RouteName>,
}

/// Why an instance was not attached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttachError {
    /// The ticket is not for this instance, session and generation, or not good any more.
    #[error("the ticket is refused: {}", .0.as_str())]
    Ticket(#[from] TokenRefusal),
    /// The ticket names another sandbox or session than the request.
    #[error("the ticket and the request name different sessions")]
    Mismatch,
    /// It was attached before.
    #[error("the instance was attached before")]
    Again,
}

/// Why a call cannot be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    /// Nobody's, or nobody's any more.
    #[error("the sandbox serves no calls now")]
    Phase(Phase),
    /// The workspace is being brought in.
    #[error("the workspace is still being brought in")]
    Hydrating,
    /// The workspace could not be brought in.
    #[error("the workspace could not be brought in")]
    NotHydrated,
}

/// The instance.
#[derive(Debug)]
pub(crate) struct Instance {
    id: InstanceId,
    clock: Arc<dyn Clock>,
    tasks: Shutdown,
    channel: DaemonChannel,
    reporter: Reporter,
    pub(crate) identity: SharedIdentity,
    pub(crate) runner: Arc<Runner>,
    pub(crate) processes: Arc<Processes>,
    pub(crate) syncer: Syncer,
    pub(crate) activity: Activity,
    start: Mutex<Option<oneshot::Sender<Start>>>,
    ports: Mutex<BTreeSet<u16>>,
    command: Mutex<Option<Arc<Process>>>,
}

impl Instance {
    /// A spare.
    pub(crate) fn new(
        id: InstanceId,
        runner: Arc<Runner>,
        gate: Arc<Gate>,
        clock: Arc<dyn Clock>,
        tasks: Shutdown,
    ) -> Arc<Self> {
        let identity = SharedIdentity::new(Identity::default());
        let channel = DaemonChannel::new(gate, Arc::<Identity>::clone(&identity));
        let reporter = Reporter::new(Reports::new(channel.clone()), &tasks);
        let activity = Activity::default();
        let processes = Processes::new(
            Arc::clone(&runner),
            Arc::clone(&identity),
            Arc::clone(&clock),
            tasks.clone(),
            activity.clone(),
        );
        let parts = Parts {
            runner: Arc::clone(&runner),
            versions: Versions::new(channel.clone()),
            reporter: reporter.clone(),
            clock: Arc::clone(&clock),
            activity: activity.clone(),
        };
        let (start, started) = oneshot::channel();
        let syncer = Syncer::spawn(parts, started, &tasks);
        Arc::new(Self {
            id,
            clock,
            tasks,
            channel,
            reporter,
            identity,
            runner,
            processes: Arc::new(processes),
            syncer,
            activity,
            start: Mutex::new(Some(start)),
            ports: Mutex::default(),
            command: Mutex::default(),
        })
    }

    /// Becomes a conversation's, once. The workspace is brought in behind the answer.
    ///
    /// # Errors
    /// [`AttachError`]; then nothing has changed.
    pub(crate) fn attach(self: &Arc<Self>, attachment: Attachment) -> Result<(), AttachError> {
        let Attachment {
            ticket,
            session,
            sandbox,
            generation,
            tokens,
            environment,
            workspace_version,
            chunking_seed,
            command,
            ports,
            routes,
        } = attachment;
        // The gate, our only peer here, has verified the signature.
        let ticket = Ticket::read_without_verifying_the_signature(&ticket, self.clock.now())?;
        ticket.check_instance(&self.id, generation)?;
        if ticket.session != session || ticket.sandbox != sandbox {
            return Err(AttachError::Mismatch);
        }
        if self.identity.phase() != Phase::Spare {
            return Err(AttachError::Again);
        }
        // Before the phase changes, so that no process starts without them.
        self.processes
            .set_environment(Environment::of_session(&routes, environment));
        *self.ports.lock() = ports;
        if !self.identity.attach(tokens) {
            return Err(AttachError::Again);
        }
        if let Some(start) = self.start.lock().take() {
            // The task ends only with the keeper.
            let _ending = start.send(Start {
                version: workspace_version,
                seed: chunking_seed,
                place: sandgate_telemetry::propagation::current_place(),
            });
        }
        self.until_end(
            "renew",
            renew::keep(
                Arc::clone(&self.identity),
                self.channel.clone(),
                Arc::clone(&self.clock),
            ),
        );
        if !command.is_empty() {
            let trace = Environment::of_call();
            self.until_end("command", Arc::clone(self).run_command(command, trace));
        }
        Ok(())
    }

    /// Spawns what lives as long as the session, and so longer than the call that began it.
    fn until_end(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let ending = self.tasks.clone();
        self.tasks.spawn_apart(name, async move {
            tokio::select! {
                () = task => {}
                () = ending.cancelled() => {}
            }
        });
    }

    /// Runs the template's own command, and reports its end.
    async fn run_command(self: Arc<Self>, argv: Vec<String>, trace: Environment) {
        if self.syncer.hydrated().await != Hydration::Complete {
            return;
        }
        let launch = Launch {
            argv,
            trace,
            environment: Environment::default(),
            cwd: WORKSPACE.to_owned(),
            terminal: None,
            stdin: Vec::new(),
            keep_stdin_open: false,
            timeout: None,
        };
        let process = match self.processes.start(launch).await {
            // Nobody reads along, so that the command never waits for a reader.
            Ok(running) => running.process,
            Err(StartError::Phase(_) | StartError::Ending) => return,
            Err(error) => {
                // As a shell would say it.
                let end = End {
                    how: super::process::How::Exited(127),
                    timed_out: false,
                    out_of_memory: false,
                };
                self.reporter
                    .command_ended(end, format!("{error}\n").into_bytes());
                return;
            }
        };
        *self.command.lock() = Some(Arc::clone(&process));
        let Some(end) = process.wait().await else {
            return;
        };
        process.wait_drained().await;
        self.reporter
            .command_ended(end, process.tail(LAST_OUTPUT_BYTES));
    }

    /// Stops everything that the agent runs, for ever; answers how the template's command exited.
    ///
    /// # Errors
    /// [`RunnerError`]: the runner is gone, and everything with it.
    pub(crate) async fn drain(&self, grace: Duration) -> Result<Option<i32>, RunnerError> {
        self.identity.drain();
        self.processes.end_all(grace).await?;
        let end = self
            .command
            .lock()
            .as_ref()
            .and_then(|process| process.end());
        Ok(end.and_then(|end| match end.how {
            super::process::How::Exited(code) => Some(code),
            super::process::How::Signalled(_) => None,
        }))
    }

    /// Whether calls can be served: attached, not draining, and with its workspace.
    ///
    /// # Errors
    /// [`Unusable`].
    pub(crate) async fn usable(&self) -> Result<(), Unusable> {
        self.attached()?;
        match tokio::time::timeout(HYDRATE_WAIT, self.syncer.hydrated()).await {
            Ok(Hydration::Complete) => self.attached(),
            Ok(Hydration::Failed) => Err(Unusable::NotHydrated),
            Ok(Hydration::Pending) | Err(_) => Err(Unusable::Hydrating),
        }
    }

    fn attached(&self) -> Result<(), Unusable> {
        match self.identity.phase() {
            Phase::Attached => Ok(()),
            phase @ (Phase::Spare | Phase::Draining) => Err(Unusable::Phase(phase)),
        }
    }

    /// Whether clients may reach a port. The local listener is nobody's to reach.
    pub(crate) fn grants_port(&self, port: u16) -> bool {
        port != LISTENER_PORT && self.ports.lock().contains(&port)
    }

    /// Where what belongs to the instance is spawned.
    pub(crate) fn tasks(&self) -> &Shutdown {
        &self.tasks
    }
}
