//! One instance: its sandbox, its keeper, and the socket on which the keeper says how it is.

use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::Pid;
use sandgate_session::control::{self, FromKeeper, ToKeeper};
use sandgate_session::link::InstanceLink;
use sandgate_spawn::control::Control;
use sandgate_spawn::helper::Helper;
use sandgate_types::InstanceId;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::config::Limits;
use super::kills::Kills;
use super::launcher::Launcher;
use super::memory::{Group, Mechanism};
use super::processes::{END_LIMIT, Place, Processes, end_child};
use super::supervisor;

/// From the first process to a sandbox whose ways out were tried; it takes 30 to 50 ms.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// What a sandbox that could not be made says about it.
const ERRORS_MAX_BYTES: u64 = 4 * 1024;

/// An instance that runs.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) id: InstanceId,
    control: AsyncFd<OwnedFd>,
    /// Taken by whoever ends it.
    processes: Mutex<Option<Processes>>,
    gone: watch::Sender<bool>,
    sandbox: Pid,
    /// The bytes that a supervisor bounds it to, and whom it killed.
    memory: Option<(u64, Kills)>,
}

impl Instance {
    /// Starts both processes and waits until the keeper says that all is well.
    ///
    /// # Errors
    /// What went wrong, in words; then nothing is left.
    pub(super) async fn start(
        launcher: &Arc<Launcher>,
        id: InstanceId,
        limits: &Limits,
    ) -> Result<Self, String> {
        let instance = Self::spawn(launcher, id, limits).await?;
        match tokio::time::timeout(READY_LIMIT, instance.ready()).await {
            Ok(Ok(())) => Ok(instance),
            Ok(Err(message)) => Err(instance.failed(message).await),
            Err(_) => Err(instance.failed("it was not ready in time".to_owned()).await),
        }
    }

    async fn spawn(
        launcher: &Arc<Launcher>,
        id: InstanceId,
        limits: &Limits,
    ) -> Result<Self, String> {
        let in_words = |error: io::Error| error.to_string();
        let (ours, theirs) = control::pair().map_err(in_words)?;
        rustix::io::ioctl_fionbio(&ours, true).map_err(|error| error.to_string())?;
        let control = watched(ours).map_err(in_words)?;
        let (keeper_end, runner_end) = sandgate_session::packet::pair().map_err(in_words)?;
        let supervised =
            launcher.memory == Mechanism::Supervisor && Control::BoundedMemory.applies();
        let mut place = Place::take(launcher, &id, limits)?;
        let argv = launcher.sandbox_argv(&limits.spec(supervised));
        let group = place.group.as_ref().map(Group::entry).transpose();
        let (own_kills, kills) = match &place.group {
            Some(group) => (None, group.kills()),
            None => {
                let own = Kills::new().map_err(in_words)?;
                let file = own.file();
                (Some(own), file)
            }
        };
        let kills = kills.map_err(in_words)?;
        let sandbox = Helper {
            argv,
            descriptors: vec![runner_end],
            uid: place.slot.sandbox,
            group: group.map_err(in_words)?,
            pipe_errors: true,
        };
        let sandbox = launcher.run(sandbox).await.map_err(in_words)?;
        let pid = sandbox.pid();
        let keeper = Helper {
            argv: launcher.keeper_argv(),
            descriptors: vec![theirs, keeper_end, kills.into()],
            uid: place.slot.keeper,
            group: None,
            pipe_errors: false,
        };
        let keeper = match launcher.run(keeper).await {
            Ok(keeper) => keeper,
            Err(error) => {
                // What cannot be ended keeps its place.
                place.vacated = end_child(sandbox).await;
                return Err(error.to_string());
            }
        };
        place.vacated = false;
        let processes = Processes {
            sandbox,
            keeper,
            place,
        };
        Ok(Self {
            id,
            control,
            processes: Mutex::new(Some(processes)),
            gone: watch::Sender::new(false),
            sandbox: pid,
            memory: own_kills
                .filter(|_| supervised)
                .map(|kills| (limits.memory.bytes(), kills)),
        })
    }

    async fn ready(&self) -> Result<(), String> {
        let hello = ToKeeper::Hello {
            instance: self.id.clone(),
        };
        control::send_to_keeper(self.control.get_ref(), &hello)
            .map_err(|error| error.to_string())?;
        match self.hear().await {
            Ok(Some(FromKeeper::Ready)) => Ok(()),
            Ok(Some(FromKeeper::Failed { message })) => Err(message),
            Ok(None) => Err("its keeper ended".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn hear(&self) -> io::Result<Option<FromKeeper>> {
        self.control
            .async_io(Interest::READABLE, |socket| {
                control::receive_from_keeper(socket)
            })
            .await
    }

    /// Ends what did not start, and tells what its first process said, which knows best.
    async fn failed(self, message: String) -> String {
        let errors = self
            .processes
            .lock()
            .as_mut()
            .and_then(|processes| processes.sandbox.errors.take());
        self.end().await;
        let mut said = String::new();
        if let Some(errors) = errors
            && errors
                .take(ERRORS_MAX_BYTES)
                .read_to_string(&mut said)
                .is_err()
        {
            said.clear();
        }
        let said = said.trim();
        if said.is_empty() {
            message
        } else {
            said.to_owned()
        }
    }

    /// Makes a new pair of links: the keeper gets its ends, the gate's are answered.
    pub(super) fn new_link(&self) -> io::Result<InstanceLink> {
        let pair = || {
            socketpair(
                AddressFamily::UNIX,
                SocketType::STREAM,
                SocketFlags::CLOEXEC,
                None,
            )
        };
        let (serve, serve_keeper) = pair()?;
        let (call, call_keeper) = pair()?;
        let link = ToKeeper::Link {
            serve: serve_keeper,
            call: call_keeper,
        };
        control::send_to_keeper(self.control.get_ref(), &link)?;
        Ok(InstanceLink {
            instance: self.id.clone(),
            serve,
            call,
        })
    }

    /// Waits until it is over, whoever ends it; supervises its memory where nothing else does.
    pub(super) async fn lost(&self) {
        let closed = async {
            // Whatever the keeper still says: only its end matters.
            while let Ok(Some(_)) = self.hear().await {}
        };
        tokio::select! {
            () = closed => {}
            () = self.supervise() => {}
        }
    }

    async fn supervise(&self) {
        let Some((bytes, kills)) = &self.memory else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(supervisor::LOOK_EVERY).await;
            // Whoever ends it consumes it, and then its number may be anybody's.
            if self.processes.lock().is_none() {
                return std::future::pending().await;
            }
            for first in supervisor::children(self.sandbox) {
                supervisor::supervise(first, *bytes, kills);
            }
        }
    }

    /// Ends it; `true` once nothing is left.
    pub(super) async fn end(&self) -> bool {
        let taken = self.processes.lock().take();
        let Some(processes) = taken else {
            // Somebody else does.
            let mut gone = self.gone.subscribe();
            return tokio::time::timeout(END_LIMIT, gone.wait_for(|gone| *gone))
                .await
                .is_ok();
        };
        match processes.end(self.sandbox).await {
            None => {
                self.gone.send_replace(true);
                true
            }
            Some(left) => {
                *self.processes.lock() = Some(left);
                false
            }
        }
    }
}

#[expect(
    deprecated,
    reason = "an OwnedFd keeps its descriptor open for as long as it is watched; the replacement is an unsafe function"
)]
pub(super) fn watched(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(descriptor)
}
