//! When a person or the system wants us to end: once politely, twice at once.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

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

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for one more and ends the process: sandboxes die with it, and what was not synced is lost.
    pub(crate) async fn insist(&mut self) {
        self.next().await;
        std::process::exit(EXIT_INTERRUPTED);
    }
}
