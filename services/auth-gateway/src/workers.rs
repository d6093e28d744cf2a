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

/// More threads than this share pools; machines of that size run several gates.
pub(crate) const MAX: usize = 64;

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

/// The number of the worker that asks; others count as the first.
pub(crate) fn number() -> usize {
    NUMBER.get()
}

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The threads.
#[derive(Debug)]
pub(crate) struct Workers {
    queues: Vec<mpsc::UnboundedSender<(&'static str, Job)>>,
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
            let (queue, mut jobs) = mpsc::unbounded_channel::<(&'static str, Job)>();
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

    /// Gives a connection to the next thread.
    pub(crate) fn spawn(&self, name: &'static str, job: impl Future<Output = ()> + Send + 'static) {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let queue = &self.queues[next % self.queues.len()];
        if queue.send((name, Box::pin(job))).is_err() {
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
