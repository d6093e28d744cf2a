//! The processes that were started here, from their start to the one answer about their end.
//!
//! A child is consumed only here, in the one thread that also starts and signals; so a number means the same
//! process in all three places. As the first process of its namespace the runner also inherits whatever lost
//! its parent, and consumes it without a word.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, kill_process,
    kill_process_group, pidfd_open, wait, waitid,
};

use crate::protocol::{Exited, Why};

/// A child that was not consumed yet; as long as it is here its number is nobody else's.
#[derive(Debug)]
struct Child {
    pid: Pid,
    /// Readable once it has ended.
    end: OwnedFd,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Children {
    /// By the number of their launch.
    started: BTreeMap<u64, Child>,
    /// Whether there were children at the last look, ours or inherited.
    any: bool,
}

impl Children {
    /// Takes in a child that was started.
    ///
    /// # Errors
    /// When there are no descriptors left; then it was killed.
    pub(super) fn enter(&mut self, launch: u64, pid: Pid) -> Result<(), Why> {
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(end) => {
                self.started.insert(launch, Child { pid, end });
                self.any = true;
                Ok(())
            }
            Err(_) => {
                // It is our child and not consumed, so the number is still its own.
                let _killed = kill_process_group(pid, Signal::KILL);
                let _consumed = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
                Err(Why::Crowded)
            }
        }
    }

    /// What becomes readable when one ends.
    pub(super) fn ends(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.started.values().map(|child| child.end.as_fd())
    }

    /// Whether anybody may end of whom no descriptor tells: as the first process, we inherit.
    pub(super) fn may_inherit(&self) -> bool {
        is_first_process() && self.any
    }

    /// Consumes everybody who has ended, and answers how.
    pub(super) fn reap(&mut self) -> Vec<Exited> {
        let mut exited = Vec::new();
        self.started.retain(|launch, child| {
            // NOHANG answers nothing for who still runs.
            match waitid(
                WaitId::Pid(child.pid),
                WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
            ) {
                Ok(Some(status)) => {
                    let signal = status.terminating_signal().unwrap_or(0);
                    exited.push(Exited {
                        process: *launch,
                        signal,
                        code: status.exit_status().unwrap_or(0),
                    });
                    false
                }
                Ok(None) | Err(Errno::INTR) => true,
                // Nobody else consumes, so this cannot be; a process that is not there has ended all the same.
                Err(_) => {
                    exited.push(Exited {
                        process: *launch,
                        signal: Signal::KILL.as_raw(),
                        code: 0,
                    });
                    false
                }
            }
        });
        if is_first_process() {
            self.reap_orphans(&mut exited);
        }
        exited
    }

    /// Consumes who lost their parent. Whoever of ours ends at this moment is answered for here.
    fn reap_orphans(&mut self, exited: &mut Vec<Exited>) {
        loop {
            let (pid, status) = match wait(WaitOptions::NOHANG) {
                Ok(Some(ended)) => ended,
                Ok(None) => return,
                Err(Errno::INTR) => continue,
                // Nobody is left, neither ours nor inherited.
                Err(_) => {
                    self.any = false;
                    return;
                }
            };
            let ours = self
                .started
                .iter()
                .find(|(_, child)| child.pid == pid)
                .map(|(launch, _)| *launch);
            if let Some(launch) = ours {
                self.started.remove(&launch);
                let signal = status.terminating_signal().unwrap_or(0);
                exited.push(Exited {
                    process: launch,
                    signal,
                    code: status.exit_status().unwrap_or(0),
                });
            }
        }
    }

    /// Sends a signal; `false` when the process was consumed, and its number may be another's.
    pub(super) fn signal(&self, launch: u64, signal: i32, group: bool) -> Result<bool, Why> {
        let Some(child) = self.started.get(&launch) else {
            return Ok(false);
        };
        let signal = Signal::from_named_raw(signal).ok_or(Why::BadRequest)?;
        let sent = if group {
            kill_process_group(child.pid, signal)
        } else {
            kill_process(child.pid, signal)
        };
        match sent {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(Errno::PERM) => Err(Why::Denied),
            Err(_) => Err(Why::Io),
        }
    }

    /// Kills everything but ourselves. Outside of a namespace of its own, where everything would be too much,
    /// the runner kills what it started and no more.
    pub(super) fn kill_all(&self) {
        if is_first_process() {
            sandgate_spawn::process::kill_all_others();
        }
        for child in self.started.values() {
            // Who is gone cannot be killed, which is as good.
            let _gone = kill_process_group(child.pid, Signal::KILL);
        }
    }
}

/// Whether this is the first process of a namespace of its own.
pub(super) fn is_first_process() -> bool {
    getpid().is_init()
}
