//! The one thread that starts processes, and what it starts them with.
//!
//! The kernel kills what was started when the *thread* that started it ends, so a thread of a pool will not do.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rustix::process::{Resource, getrlimit};
use sandgate_spawn::control::Control;
use sandgate_spawn::helper::{Child, Helper, Program};
use sandgate_spawn::limits::DESCRIPTORS_IN_RESERVE;
use sandgate_spawn::sandbox::Spec;
use tokio::sync::oneshot;

use super::config::{Limits, LocalConfig, LocalTemplate, SHARED_MEMORY};
use super::memory::Mechanism;
use super::{INSTANCES_MAX, StartError};
use crate::Bound;

/// What the keeper keeps of the output of all processes of a sandbox; a published limit.
const OUTPUT_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Starts that may wait; each takes a few milliseconds.
const QUEUE: usize = 64;

struct Job {
    helper: Helper,
    answer: oneshot::Sender<io::Result<Child>>,
}

/// Starts processes.
#[derive(Debug)]
pub(super) struct Launcher {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// How sandboxd is called.
    argv: Vec<OsString>,
    otlp_endpoint: Option<String>,
    uids: Option<Uids>,
    pub(super) memory: Mechanism,
}

/// Two uids for each instance that may exist, given out by root.
#[derive(Debug)]
struct Uids {
    first: u32,
    taken: Mutex<Vec<bool>>,
}

/// A place among the instances, and the uids that belong to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    index: usize,
    /// Of the sandbox.
    pub(super) sandbox: Option<u32>,
    /// Of its keeper.
    pub(super) keeper: Option<u32>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

impl Launcher {
    pub(super) fn start(config: &LocalConfig) -> Result<Self, StartError> {
        let binary = config
            .sandboxd
            .first()
            .map_or(OsStr::new(""), OsString::as_os_str);
        let program = Program::open(Path::new(binary)).map_err(StartError::Binary)?;
        let (jobs, queue) = sync_channel::<Job>(QUEUE);
        let thread = std::thread::Builder::new()
            .name("launcher".to_owned())
            .spawn(move || {
                for Job { helper, answer } in queue {
                    // Whoever asked may be gone; a child that nobody hears of is ended.
                    if let Err(Ok(child)) = answer.send(helper.start(&program))
                        && let Err(error) = child.end()
                    {
                        tracing::warn!(%error, "a process that nobody waits for could not be ended");
                    }
                }
            })
            .map_err(StartError::Thread)?;
        let is_root = rustix::process::geteuid().is_root();
        if !is_root {
            tell_of_groups();
        }
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
            argv: config.sandboxd.clone(),
            otlp_endpoint: config.otlp_endpoint.clone(),
            uids: (is_root && Control::OwnUid.applies()).then(|| Uids {
                first: config.first_uid,
                taken: Mutex::new(vec![false; INSTANCES_MAX]),
            }),
            memory: Mechanism::of_this_machine(),
        })
    }

    /// Refuses templates whose limits cannot be kept here, before anybody relies on them.
    pub(super) fn check(&self, templates: &[LocalTemplate]) -> Result<(), StartError> {
        for template in templates {
            let Limits {
                memory_bound_hard,
                processes,
                descriptors,
                ..
            } = template.limits;
            let refuse = |rule: String| {
                Err(StartError::Template {
                    template: template.name.clone(),
                    rule,
                })
            };
            if memory_bound_hard && self.memory == Mechanism::Supervisor {
                let rule = "memory_bound must be best, since no control group can be made here; to have one run as \
                            root, or in a unit with Delegate=memory";
                return refuse(rule.to_owned());
            }
            for (name, wanted, reserve, resource) in [
                ("processes", processes, 0, Resource::Nproc),
                (
                    "descriptors",
                    descriptors,
                    DESCRIPTORS_IN_RESERVE,
                    Resource::Nofile,
                ),
            ] {
                if let Some(hard) = getrlimit(resource).maximum
                    && u64::from(wanted).saturating_add(reserve) > hard
                {
                    let most = hard.saturating_sub(reserve);
                    return refuse(format!(
                        "{name} must be at most {most}, the hard limit here ({hard}) without what the runner needs \
                         ({reserve}); raise it with `ulimit -H` as root, or with LimitNOFILE and LimitNPROC of a unit"
                    ));
                }
            }
        }
        Ok(())
    }

    fn argv(&self, role: &str) -> Vec<OsString> {
        let mut argv = self.argv.clone();
        argv.push(role.into());
        argv
    }

    /// The command line of a sandbox. It can be read inside, and does not tell where our binary is.
    pub(super) fn sandbox_argv(&self, spec: &Spec) -> Vec<OsString> {
        let mut argv = self.argv("sandbox");
        if let Some(name) = argv.first_mut() {
            *name = "sandboxd".into();
        }
        argv.extend(spec.to_arguments());
        argv
    }

    /// The command line of a keeper. Its environment is empty, and its command line cannot be read inside.
    pub(super) fn keeper_argv(&self) -> Vec<OsString> {
        let mut argv = self.argv("keeper");
        if let Some(endpoint) = &self.otlp_endpoint {
            argv.extend(["--otlp-endpoint".into(), endpoint.into()]);
        }
        argv
    }

    /// Starts a process on the one thread.
    pub(super) async fn run(&self, helper: Helper) -> io::Result<Child> {
        let ended = || io::Error::other("the launcher has ended");
        let (answer, answered) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or_else(ended)?;
        jobs.try_send(Job { helper, answer })
            .map_err(|_| io::Error::other("too many starts at a time"))?;
        answered.await.map_err(|_| ended())?
    }

    /// Takes a place; `None` when all are taken.
    pub(super) fn take_slot(&self) -> Option<Slot> {
        let Some(uids) = &self.uids else {
            return Some(Slot {
                index: 0,
                sandbox: None,
                keeper: None,
            });
        };
        let mut taken = uids.taken.lock();
        let index = taken.iter().position(|taken| !taken)?;
        *taken.get_mut(index)? = true;
        let first = uids
            .first
            .checked_add(u32::try_from(index).ok()?.checked_mul(2)?)?;
        Some(Slot {
            index,
            sandbox: Some(first),
            keeper: Some(first.checked_add(u32::from(Control::KeeperUid.applies()))?),
        })
    }

    /// Gives a place back, once nothing runs under its uids any more.
    pub(super) fn give_back(&self, slot: Slot) {
        if let Some(uids) = &self.uids
            && let Some(taken) = uids.taken.lock().get_mut(slot.index)
        {
            *taken = false;
        }
    }

    /// What bounds a sandbox with these limits here.
    pub(super) fn bounds(&self, limits: &Limits) -> Vec<Bound> {
        let count = |resource, limit: u32, mechanism| Bound {
            resource,
            limit: limit.into(),
            mechanism,
        };
        let bytes = |resource, limit: u64, mechanism| Bound {
            resource,
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
            mechanism,
        };
        vec![
            count("processes", limits.processes, "rlimit-nproc"),
            bytes("memory", self.memory.limit(limits), self.memory.as_str()),
            bytes("disk", limits.disk.bytes(), "tmpfs-size"),
            bytes("home", limits.home.bytes(), "tmpfs-size"),
            bytes("tmp", limits.tmp.bytes(), "tmpfs-size"),
            bytes("shm", SHARED_MEMORY, "tmpfs-size"),
            count("descriptors", limits.descriptors, "rlimit-nofile"),
            bytes("output", OUTPUT_MAX_BYTES, "keeper-ring"),
        ]
    }
}

/// An ordinary user's processes keep its groups, and so do its sandboxes: only root can give groups up.
fn tell_of_groups() {
    let own = rustix::process::getegid();
    // A list that cannot be read has more than a handful.
    let others = rustix::process::getgroups().map_or(true, |all| all.iter().any(|it| *it != own));
    if others {
        tracing::warn!(
            "this user is in more groups than its own, and so is whatever runs in its sandboxes, for what of the \
             machine's programs is shown there; use a user without other groups, or root, to be rid of them"
        );
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // The thread ends when nobody can send any more, and what it started ends with it.
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the launcher panicked");
        }
    }
}
