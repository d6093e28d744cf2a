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
    /// The first one that came while we worked.
    told: Option<i32>,
}

impl Signals {
    /// From now on they do not end the process by themselves.
    pub(crate) fn take() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("take SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("take SIGINT")?,
            told: None,
        })
    }

    /// Waits for the next one, and says its number.
    pub(crate) async fn next(&mut self) -> i32 {
        tokio::select! {
            _told = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _told = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        }
    }

    /// The number of the first one that came during something.
    pub(crate) fn told(&self) -> Option<i32> {
        self.told
    }

    /// Does something to its end, which the first signal does not keep it from and the second does: it ends the
    /// process.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                number = self.next() => self.hear(number),
            }
        }
    }

    /// Notes that we are to end; whoever says so twice means at once.
    pub(crate) fn hear(&mut self, number: i32) {
        if self.told.is_some() {
            at_once();
        }
        self.told = Some(number);
        line("sandgate: ending; once more Ctrl-C ends at once");
    }

    /// Waits for one more and ends the process.
    pub(crate) async fn insist(&mut self) {
        self.next().await;
        at_once();
    }
}

/// Ends the process: sandboxes of its own die with it, and what was not synced is lost.
#[expect(
    clippy::exit,
    reason = "whoever insists does not wait for what runs, in whatever it is"
)]
pub(crate) fn at_once() -> ! {
    std::process::exit(EXIT_INTERRUPTED)
}
