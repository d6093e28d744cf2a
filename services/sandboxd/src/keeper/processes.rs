//! All processes of the agent: who may start, who is killed when, and the end of them all.
//!
//! A start that was asked for is finished and entered whatever becomes of the caller, so nothing runs that
//! the table does not know. Nothing here waits for a caller.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_rpc::Shutdown;
use sandgate_types::{Clock, LinkId};
use tokio::sync::oneshot;

use super::activity::Activity;
use super::environment::Environment;
use super::identity::{Phase, SharedIdentity};
use super::process::{How, Outputs, Process, Reader};
use super::ring::NotKept;
use super::runner::{Runner, RunnerError, Size};
use super::table::{Crowded, Table};

mod end;
mod place;

use self::place::Place;

/// SIGKILL, by its number, which is part of the kernel's interface.
const KILL: i32 = 9;

/// A process to start.
#[derive(Debug)]
pub(crate) struct Launch {
    /// The program and its arguments; at least one.
    pub(crate) argv: Vec<String>,
    /// The trace of the call that starts it, which session and call may replace.
    pub(crate) trace: Environment,
    /// What it adds to the session's environment.
    pub(crate) environment: Environment,
    /// Its working directory, absolute.
    pub(crate) cwd: String,
    /// The size of its terminal, where it gets one.
    pub(crate) terminal: Option<Size>,
    /// What its input starts with.
    pub(crate) stdin: Vec<u8>,
    /// Whether its input stays open after that.
    pub(crate) keep_stdin_open: bool,
    /// After this its group is killed.
    pub(crate) timeout: Option<Duration>,
}

/// Why a process was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The instance serves nobody, or nobody any more.
    #[error("the sandbox takes no processes now")]
    Phase(Phase),
    /// As many run as may.
    #[error(transparent)]
    Crowded(#[from] Crowded),
    /// The runner could not start it.
    #[error(transparent)]
    Runner(#[from] RunnerError),
    /// What the runner handed over cannot be used.
    #[error("the process could not be taken over")]
    Adopt(#[source] io::Error),
    /// The keeper is ending.
    #[error("the keeper is ending")]
    Ending,
}

/// The processes of the sandbox.
#[derive(Debug)]
pub(crate) struct Processes {
    runner: Arc<Runner>,
    identity: SharedIdentity,
    clock: Arc<dyn Clock>,
    tasks: Shutdown,
    /// Touched when a process started or ended: files may have changed.
    activity: Activity,
    outputs: Arc<Outputs>,
    table: Mutex<Table<Process>>,
    rng: Mutex<StdRng>,
    environment: Mutex<Environment>,
}

/// A process that was started, and a reader from its first byte on.
#[derive(Debug)]
pub(crate) struct Running {
    /// Its handle.
    pub(crate) id: LinkId,
    /// The process.
    pub(crate) process: Arc<Process>,
    /// Reads from the beginning.
    pub(crate) reader: Reader,
}

impl Processes {
    /// None yet.
    pub(crate) fn new(
        runner: Arc<Runner>,
        identity: SharedIdentity,
        clock: Arc<dyn Clock>,
        tasks: Shutdown,
        activity: Activity,
    ) -> Self {
        Self {
            runner,
            identity,
            clock,
            tasks,
            activity,
            outputs: Arc::default(),
            table: Mutex::default(),
            rng: Mutex::new(StdRng::from_os_rng()),
            environment: Mutex::default(),
        }
    }

    /// What every process gets from now on.
    pub(crate) fn set_environment(&self, environment: Environment) {
        *self.environment.lock() = environment;
    }

    /// Starts a process. Dropping the future does not undo it.
    ///
    /// # Errors
    /// [`StartError`]; then nothing runs.
    pub(crate) async fn start(self: &Arc<Self>, launch: Launch) -> Result<Running, StartError> {
        match self.identity.phase() {
            Phase::Attached => {}
            phase @ (Phase::Spare | Phase::Draining) => return Err(StartError::Phase(phase)),
        }
        let place = Place::keep(Arc::clone(self))?;
        let (answer, answered) = oneshot::channel();
        let processes = Arc::clone(self);
        self.tasks.spawn("start", async move {
            // Whoever asked may be gone; the process runs on and can be attached to.
            let _unheard = answer.send(processes.launch(launch, place).await);
        });
        answered.await.unwrap_or(Err(StartError::Ending))
    }

    async fn launch(self: Arc<Self>, launch: Launch, place: Place) -> Result<Running, StartError> {
        let Launch {
            argv,
            trace,
            environment,
            cwd,
            terminal,
            stdin,
            keep_stdin_open,
            timeout,
        } = launch;
        let session = self.environment.lock().clone();
        let environment = trace.with(session).with(environment);
        let program = argv.first().cloned().unwrap_or_default();
        let wants_stdin = keep_stdin_open || !stdin.is_empty();
        let (started, exit) = self
            .runner
            .launch(argv, &environment, cwd, terminal, wants_stdin)
            .await?;
        let handle = started.handle;
        let adopted = Process::adopt(
            started,
            program,
            self.clock.now(),
            Arc::clone(&self.outputs),
            &self.tasks,
        );
        let process = match adopted {
            Ok(process) => process,
            Err(error) => {
                self.runner.signal(handle, KILL, true).await?;
                return Err(StartError::Adopt(error));
            }
        };
        let reader = process
            .read_from(0)
            .map_err(|NotKept { .. }| StartError::Ending)?;
        let id = place.enter(Arc::clone(&process));
        self.activity.started();
        // What follows a process lives as long as that, and not as the call that started it.
        self.tasks.spawn_apart(
            "exit",
            Arc::clone(&self).follow(id.clone(), Arc::clone(&process), exit),
        );
        if let Some(timeout) = timeout {
            self.tasks.spawn_apart(
                "timeout",
                Arc::clone(&self).time_out(Arc::clone(&process), timeout),
            );
        }
        if wants_stdin || terminal.is_some() {
            let process = Arc::clone(&process);
            self.tasks.spawn_apart("stdin", async move {
                if let Err(error) = process.write_stdin(&stdin, !keep_stdin_open).await {
                    tracing::debug!(%error, "a process did not take its input");
                }
            });
        }
        // A drain that began meanwhile has not seen this process.
        if self.identity.phase() == Phase::Draining {
            self.runner.signal(handle, KILL, true).await?;
        }
        Ok(Running {
            id,
            process,
            reader,
        })
    }

    /// The process with this handle.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<Process>> {
        self.table.lock().find(id)
    }

    /// All of them, newest first: the how-manieth each was to start, its handle, and itself.
    pub(crate) fn newest_first(&self) -> Vec<(u64, LinkId, Arc<Process>)> {
        let table = self.table.lock();
        table
            .newest_first()
            .map(|(started, id, process)| (started, id.clone(), Arc::clone(process)))
            .collect()
    }

    /// Sends a signal; `false` when the process has ended.
    ///
    /// # Errors
    /// [`RunnerError`].
    pub(crate) async fn signal(
        &self,
        process: &Process,
        signal: i32,
        group: bool,
    ) -> Result<bool, RunnerError> {
        if process.end().is_some() {
            return Ok(false);
        }
        self.runner.signal(process.handle, signal, group).await
    }

    async fn follow(
        self: Arc<Self>,
        id: LinkId,
        process: Arc<Process>,
        exit: oneshot::Receiver<How>,
    ) {
        // A runner that is gone took the process with it.
        let how = exit.await.unwrap_or(How::Signalled(KILL));
        process.ended(how, self.runner.kills.explain(process.handle, how));
        self.activity.ended();
        if let Some(forgotten) = self.table.lock().end(&id) {
            forgotten.forget();
        }
    }

    async fn time_out(self: Arc<Self>, process: Arc<Process>, timeout: Duration) {
        tokio::select! {
            () = tokio::time::sleep(timeout) => {}
            _ = process.wait() => return,
        }
        if process.time_is_up() {
            let killed = self.signal(&process, KILL, true).await;
            if let Err(error) = killed {
                tracing::debug!(%error, "a process whose time is up went with its runner");
            }
        }
    }
}
