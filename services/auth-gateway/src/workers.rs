//! The data path's threads: one single-threaded runtime each, with its own connections to upstreams, so that a
//! request never moves between processors. A connection is given to one and stays there.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use sandgate_rpc::Shutdown;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// More threads than this share pools; machines of that size run several gates.
pub(crate) const MAX: usize = 64;
/// Connections that wait for one thread. A thread takes thousands in a second, so that one with as many waiting is
/// stuck or far behind, and who connects is better served by another thread, or told at once by a closed
/// connection, than by a wait of which nobody knows the end.
const WAITING_MAX: usize = 1_024;

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

/// The number of the worker that asks; others count as the first.
pub(crate) fn number() -> usize {
    NUMBER.get()
}

type Job = (&'static str, Pin<Box<dyn Future<Output = ()> + Send>>);

/// No thread takes a connection at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Busy;

/// The threads.
#[derive(Debug)]
pub(crate) struct Workers {
    queues: Vec<mpsc::Sender<Job>>,
    next: AtomicUsize,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` threads, whose tasks `shutdown` joins.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub(crate) fn start(count: NonZeroUsize, shutdown: &Shutdown) -> io::Result<Self> {
        let mut workers = Self {
            queues: Vec::new(),
            next: AtomicUsize::new(0),
            threads: Vec::new(),
        };
        for number in 0..count.get().min(MAX) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let (queue, mut jobs) = mpsc::channel::<Job>(WAITING_MAX);
            let shutdown = shutdown.clone();
            let thread = std::thread::Builder::new()
                .name(format!("gate {number}"))
                .spawn(move || {
                    NUMBER.set(number);
                    runtime.block_on(async {
                        while let Some((name, job)) = jobs.recv().await {
                            shutdown.spawn(name, job);
                        }
                    });
                })?;
            workers.queues.push(queue);
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Gives a connection to the next thread that has room for it.
    ///
    /// # Errors
    /// [`Busy`], when none has; then the connection is closed, by being dropped.
    pub(crate) fn try_spawn(
        &self,
        name: &'static str,
        job: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Busy> {
        let mut job: Job = (name, Box::pin(job));
        let first = self.next.fetch_add(1, Ordering::Relaxed) % self.queues.len();
        let (before, from) = self.queues.split_at(first);
        for queue in from.iter().chain(before) {
            job = match queue.try_send(job) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(job) | TrySendError::Closed(job)) => job,
            };
        }
        Err(Busy)
    }

    /// Gives a connection that must not be lost to the next thread, and waits for room where it has to.
    pub(crate) async fn spawn(
        &self,
        name: &'static str,
        job: impl Future<Output = ()> + Send + 'static,
    ) {
        let first = self.next.fetch_add(1, Ordering::Relaxed) % self.queues.len();
        if self.queues[first]
            .send((name, Box::pin(job)))
            .await
            .is_err()
        {
            tracing::error!(name, "a worker is gone");
        }
    }

    /// Ends the threads. Whatever still runs on them is dropped.
    pub(crate) fn stop(self) {
        drop(self.queues);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc as blocking;
    use std::time::Duration;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);
    const TWO: NonZeroUsize = NonZeroUsize::new(2).expect("two is not zero");

    /// A job that holds its thread until the answer's sender is dropped, and says that it does.
    fn stuck(workers: &Workers) -> blocking::Sender<()> {
        let (holding, held) = blocking::channel();
        let (release, released) = blocking::channel::<()>();
        let job = async move {
            holding.send(()).expect("the test waits");
            // It ends with an error: nobody sends.
            let _gone = released.recv();
        };
        workers.try_spawn("stuck", job).expect("room");
        held.recv().expect("it runs");
        release
    }

    #[test]
    fn a_thread_that_is_stuck_loses_no_connection_while_another_takes_them() {
        let shutdown = Shutdown::new();
        let workers = Workers::start(TWO, &shutdown).expect("threads");
        let (one, other) = (stuck(&workers), stuck(&workers));
        for _ in 0..WAITING_MAX * 2 {
            workers.try_spawn("waits", async {}).expect("room");
        }
        assert_eq!(workers.try_spawn("too much", async {}), Err(Busy));
        drop(other);
        let (ran, runs) = blocking::channel();
        let run = || {
            let ran = ran.clone();
            async move { ran.send(()).expect("the test waits") }
        };
        // The thread that was let go first takes what waited for it.
        while workers.try_spawn("job", run()).is_err() {
            std::thread::yield_now();
        }
        runs.recv_timeout(LIMIT).expect("it ran it");
        // Each second one of these is the stuck thread's turn.
        for _ in 0..10 {
            workers.try_spawn("job", run()).expect("room");
            runs.recv_timeout(LIMIT).expect("the other thread ran it");
        }
        drop(one);
        workers.stop();
    }

    #[test]
    fn when_every_thread_is_full_a_connection_is_closed_at_once_and_memory_is_bounded() {
        let shutdown = Shutdown::new();
        let workers = Workers::start(NonZeroUsize::MIN, &shutdown).expect("a thread");
        let release = stuck(&workers);
        for _ in 0..WAITING_MAX {
            workers.try_spawn("waits", async {}).expect("room");
        }
        let (end, other_end) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let refused = workers.try_spawn("too much", async move { drop(end) });
        assert_eq!(refused, Err(Busy));
        let mut byte = [0];
        let read = std::io::Read::read(&mut &other_end, &mut byte);
        assert_eq!(read.expect("the connection is closed"), 0);
        drop(release);
        workers.stop();
    }
}
