//! What an instance takes of the machine, and how it is given back: its processes, uids and control group.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use sandgate_spawn::helper::Child;
use sandgate_types::InstanceId;

use super::config::Limits;
use super::instance::watched;
use super::launcher::{Launcher, Slot};
use super::memory::Group;
use super::supervisor;

/// What was killed is gone by then, or the kernel cannot end it.
pub(super) const END_LIMIT: Duration = Duration::from_secs(5);

/// What has to be ended.
#[derive(Debug)]
pub(super) struct Processes {
    /// The parent of the sandbox's first process.
    pub(super) sandbox: Child,
    pub(super) keeper: Child,
    pub(super) place: Place,
}

/// Where an instance is: its uids and its control group. Given back with the value, once nothing runs there.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) group: Option<Group>,
    pub(super) slot: Slot,
    launcher: Arc<Launcher>,
    /// Nothing runs there: not yet, or not any more.
    pub(super) vacated: bool,
}

impl Place {
    pub(super) fn take(
        launcher: &Arc<Launcher>,
        id: &InstanceId,
        limits: &Limits,
    ) -> Result<Self, String> {
        let slot = launcher.take_slot().ok_or("no uids are left")?;
        let mut place = Self {
            group: None,
            slot,
            launcher: Arc::clone(launcher),
            vacated: true,
        };
        let group = launcher.memory.group(id, limits);
        place.group = group.map_err(|error| format!("make a control group: {error}"))?;
        Ok(place)
    }

    /// Removes the group; `false` while a process is in it.
    fn close(&self) -> bool {
        self.group.as_ref().is_none_or(Group::remove)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.vacated && self.close() {
            self.launcher.give_back(self.slot);
        }
    }
}

impl Processes {
    /// Ends both; what is left, when something is.
    pub(super) async fn end(mut self, sandbox: Pid) -> Option<Self> {
        // The first process of the sandbox takes everything inside along, and its parent waits for that: once
        // the parent has ended by itself, nobody is left.
        // Of one that was consumed the number may be anybody's by now.
        if !matches!(self.sandbox.has_ended(), Ok(true)) {
            let inside = supervisor::children(sandbox);
            for first in &inside {
                kill(*first);
            }
            if inside.is_empty() {
                kill(sandbox);
            }
        }
        if let Err(error) = self.keeper.kill() {
            tracing::debug!(%error, "a keeper was gone already");
        }
        let mut ended = wait(&mut self.sandbox, END_LIMIT).await;
        if !ended {
            kill(sandbox);
            ended = wait(&mut self.sandbox, END_LIMIT).await;
        }
        ended &= wait(&mut self.keeper, END_LIMIT).await;
        ended &= self.place.close();
        if !ended {
            return Some(self);
        }
        self.place.vacated = true;
        None
    }
}

/// Ends a sandbox without a keeper; `true` once nothing is left.
pub(super) async fn end_child(mut child: Child) -> bool {
    for first in supervisor::children(child.pid()) {
        kill(first);
    }
    kill(child.pid());
    wait(&mut child, END_LIMIT).await
}

/// Whoever is gone needs no killing.
fn kill(pid: Pid) {
    if let Err(error) = kill_process(pid, Signal::KILL) {
        tracing::debug!(%error, "a process was gone already");
    }
}

/// Waits for a child and consumes it; `false` when it has not ended in time.
async fn wait(child: &mut Child, limit: Duration) -> bool {
    if matches!(child.has_ended(), Ok(true)) {
        return true;
    }
    let pid = child.pid();
    let ended = async {
        let descriptor = watched(pidfd_open(pid, PidfdFlags::empty())?)?;
        descriptor.readable().await?.retain_ready();
        io::Result::Ok(())
    };
    let waited = tokio::time::timeout(limit, ended).await;
    matches!(waited, Ok(Ok(()))) && matches!(child.has_ended(), Ok(true))
}
