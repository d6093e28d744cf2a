//! What may take long, or streams, beside the thread that waits.
//!
//! A job has a thread of its own, which ends with it. The agent may take every process number of the sandbox,
//! and then no thread can be started: so one more is there from the beginning, and what ends by itself waits its
//! turn there. A bomb in a sandbox therefore does not keep its files from being stored.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use parking_lot::Mutex;

use super::stream::Frames;
use super::{Workspace, answer, apply, files, walk, watch};
use crate::protocol::{Outcome, Remove, Request, Watch, Why};

/// Jobs at the same time.
const JOBS_MAX: usize = 24;
/// Their stack: a removal descends [`sandgate_workspace::DEPTH_MAX`] directories.
const STACK_BYTES: usize = 512 * 1024;

/// Something to do, whose answer goes to the keeper.
#[derive(Debug)]
struct Job {
    id: u64,
    request: Request,
    descriptors: Vec<OwnedFd>,
}

/// What every job needs.
#[derive(Debug)]
struct Shared {
    socket: Arc<OwnedFd>,
    workspace: Arc<Workspace>,
    running: AtomicUsize,
}

/// The jobs of a runner.
#[derive(Debug)]
pub(super) struct Jobs {
    shared: Arc<Shared>,
    /// The thread that is always there; it ends with this.
    reserve: SyncSender<Job>,
}

impl Jobs {
    /// None yet.
    ///
    /// # Errors
    /// When the thread that is always there cannot be started.
    pub(super) fn new(socket: Arc<OwnedFd>, workspace: Arc<Workspace>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            socket,
            workspace,
            running: AtomicUsize::new(0),
        });
        let (reserve, waiting) = sync_channel::<Job>(JOBS_MAX);
        let worker = Arc::clone(&shared);
        spawn(move || {
            for job in waiting {
                worker.run(job);
            }
        })?;
        Ok(Self { shared, reserve })
    }

    /// Does what is asked beside the caller; the answer comes when it is done.
    ///
    /// # Errors
    /// Why it is not done; then nobody answers.
    pub(super) fn begin(
        &self,
        id: u64,
        request: Request,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), Why> {
        let shared = Arc::clone(&self.shared);
        if shared.running.fetch_add(1, Ordering::Relaxed) >= JOBS_MAX {
            shared.running.fetch_sub(1, Ordering::Relaxed);
            return Err(Why::Busy);
        }
        // A thread that cannot be started would take the job along.
        let job = Arc::new(Mutex::new(Some(Job {
            id,
            request,
            descriptors,
        })));
        let taken = Arc::clone(&job);
        let begun = spawn(move || {
            let job = taken.lock().take();
            if let Some(job) = job {
                shared.run(job);
            }
        });
        let left = job.lock().take_if(|_| begun.is_err());
        match left {
            None => Ok(()),
            Some(job) => self.wait_its_turn(job),
        }
    }

    fn wait_its_turn(&self, job: Job) -> Result<(), Why> {
        // A watch ends when the keeper says so, and would keep all others waiting.
        let refused = if matches!(job.request, Request::Watch(_)) {
            Err(Why::Crowded)
        } else {
            self.reserve.try_send(job).map_err(|_| Why::Crowded)
        };
        if refused.is_err() {
            self.shared.running.fetch_sub(1, Ordering::Relaxed);
        }
        refused
    }
}

impl Shared {
    fn run(&self, job: Job) {
        let id = job.id;
        let outcome = self.outcome(job);
        self.running.fetch_sub(1, Ordering::Relaxed);
        // A keeper that is gone is noticed by the thread that waits for it.
        let _gone = answer(&self.socket, id, outcome, &[]);
    }

    /// What a job comes to.
    fn outcome(&self, job: Job) -> Outcome {
        let Job {
            id,
            request,
            descriptors,
        } = job;
        let Workspace { tree, root } = &*self.workspace;
        let frames = |descriptors| Frames::new(descriptors).map_err(|_| Why::BadRequest);
        let done = match request {
            Request::Remove(Remove { path, recursive }) => files::path_of(&path)
                .and_then(|path| tree.remove(&path, recursive).map_err(files::why)),
            Request::Walk(_) => {
                frames(descriptors).and_then(|mut frames| walk::walk(tree, &mut frames))
            }
            Request::Apply(_) => {
                frames(descriptors).and_then(|mut frames| apply::apply(tree, &mut frames))
            }
            Request::Watch(Watch { path, recursive }) => {
                frames(descriptors).and_then(|mut frames| {
                    let placed = watch::place(tree, root, &path, recursive)?;
                    // Answered here, since the watch goes on; the answer at its end finds nobody who waits.
                    answer(&self.socket, id, Outcome::done(), &[]).map_err(|_| Why::Io)?;
                    placed.run(&mut frames).map_err(|_| Why::Io)
                })
            }
            Request::Launch(_)
            | Request::Signal(_)
            | Request::KillAll(_)
            | Request::Dial(_)
            | Request::Open(_)
            | Request::Create(_)
            | Request::Commit(_)
            | Request::Abandon(_)
            | Request::Stat(_)
            | Request::List(_)
            | Request::MakeDirectory(_)
            | Request::Move(_) => Err(Why::BadRequest),
        };
        done.map_or_else(Outcome::from, |()| Outcome::done())
    }
}

/// Starts a thread that runs by itself.
fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let named = thread::Builder::new().name("job".to_owned());
    named.stack_size(STACK_BYTES).spawn(work).map(drop)
}
