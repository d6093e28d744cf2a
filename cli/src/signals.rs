//! When a person or the system wants us to end: once politely, twice at once.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::report::line;

/// What a shell answers for a command that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 130;

/// Both signals that ask for the end.
pub(crate) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// From now on they do not end the process by themselves.
    pub(crate) fn take() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("take SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("take SIGINT")?,
        })
    }

    /// Waits for the next one, and says its number.
    pub(crate) async fn next(&mut self) -> i32 {
        tokio::select! {
            _told = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _told = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        }
    }

    /// Waits for one more and ends the process: sandboxes die with it, and what was not synced is lost.
    pub(crate) async fn insist(&mut self) {
        self.next().await;
        std::process::exit(EXIT_INTERRUPTED);
    }
}

/// Does something that hears the first signal itself, and ends the process at the second.
pub(crate) async fn until_told_twice<T>(
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let mut signals = Signals::take()?;
    let mut work = std::pin::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        _number = signals.next() => {}
    }
    line("sandgate: ending; once more Ctrl-C ends at once");
    tokio::select! {
        done = work => done,
        () = signals.insist() => std::future::pending().await,
    }
}
