//! Tells the orchestrator what happened inside. Each report is repeated until it was heard, or it no longer
//! matters: the orchestrator decides on reports, and a lost one would leave it waiting.
//!
//! They are heard in the order in which things happened, one after the other; of versions that wait to be told
//! only the newest is, since it holds what the others did.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use sandgate_rpc::Shutdown;
use tokio::sync::Notify;
use tracing::Instrument as _;

use super::peers::Reports;
use super::process::{End, How};
use super::sync::HydrateError;

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Between the first two attempts; twice as long each time.
const PAUSE: Duration = Duration::from_millis(100);
/// But no longer than this.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// After so many the report is given up; the orchestrator notices by its own deadlines.
const ATTEMPTS_MAX: usize = 40;
/// The published limit of a message of failure.
const MESSAGE_MAX_BYTES: usize = 256;

/// Where reports go.
#[derive(Debug, Clone)]
pub(crate) struct Reporter(Arc<Waiting>);

/// What is not told yet: at most one of each kind.
#[derive(Debug, Default)]
struct Waiting {
    reports: Mutex<VecDeque<Report>>,
    added: Notify,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// The workspace is there.
    Hydrated {
        /// As this version.
        version: String,
    },
    /// The workspace could not be brought in.
    HydrateFailed {
        /// Why.
        message: String,
    },
    /// A version was stored.
    Synced {
        /// This one.
        version: String,
    },
    /// The template's command ended.
    CommandEnded {
        /// In this way.
        how: How,
        /// The end of what it wrote.
        last_output: Vec<u8>,
    },
}

/// What happened, and the trace of it.
#[derive(Debug)]
struct Report {
    event: Event,
    span: tracing::Span,
}

impl Reporter {
    /// Tells `reports`, by a task that ends with `tasks`.
    pub(crate) fn new(reports: Reports, tasks: &Shutdown) -> Self {
        let waiting = Arc::<Waiting>::default();
        let (told, ending) = (Arc::clone(&waiting), tasks.clone());
        tasks.spawn("report", async move {
            tokio::select! {
                () = told.tell_all(reports) => {}
                () = ending.cancelled() => {}
            }
        });
        Self(waiting)
    }

    /// The workspace is there.
    pub(crate) fn hydrated(&self, version: &str) {
        self.tell(Event::Hydrated {
            version: version.to_owned(),
        });
    }

    /// The workspace could not be brought in.
    pub(crate) fn hydrate_failed(&self, error: &HydrateError) {
        let mut message = error.to_string();
        message.truncate(message.floor_char_boundary(MESSAGE_MAX_BYTES));
        self.tell(Event::HydrateFailed { message });
    }

    /// A version was stored.
    pub(crate) fn synced(&self, version: &str) {
        self.tell(Event::Synced {
            version: version.to_owned(),
        });
    }

    /// The template's command ended.
    pub(crate) fn command_ended(&self, end: End, last_output: Vec<u8>) {
        self.tell(Event::CommandEnded {
            how: end.how,
            last_output,
        });
    }

    fn tell(&self, event: Event) {
        let mut reports = self.0.reports.lock();
        if is_version(&event) {
            reports.retain(|report| !is_version(&report.event));
        }
        let span = tracing::Span::current();
        reports.push_back(Report { event, span });
        drop(reports);
        self.0.added.notify_one();
    }
}

impl Waiting {
    async fn tell_all(&self, mut reports: Reports) {
        loop {
            let next = self.reports.lock().pop_front();
            match next {
                Some(Report { event, span }) => {
                    self.until_heard(&mut reports, event).instrument(span).await;
                }
                None => self.added.notified().await,
            }
        }
    }

    async fn until_heard(&self, reports: &mut Reports, event: Event) {
        let mut pause = PAUSE;
        for _ in 0..ATTEMPTS_MAX {
            if is_version(&event) && self.knows_a_newer_version() {
                return;
            }
            match reports.tell(&event, ATTEMPT).await {
                Ok(()) => return,
                Err(error) => tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "a report was not heard"
                ),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        tracing::warn!("a report was given up");
    }

    fn knows_a_newer_version(&self) -> bool {
        let reports = self.reports.lock();
        reports.iter().any(|report| is_version(&report.event))
    }
}

fn is_version(event: &Event) -> bool {
    match event {
        Event::Synced { .. } => true,
        Event::Hydrated { .. } | Event::HydrateFailed { .. } | Event::CommandEnded { .. } => false,
    }
}
