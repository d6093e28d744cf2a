//! The workspace between the sandbox and the store: brought in once, stored whenever it has changed.
//!
//! One task owns what is known of the store, and does one thing at a time; whoever asks for a sync while one is
//! running gets the next one, which sees all that they wrote before they asked. A workspace that could not be
//! brought in is never synced: half a tree must not become the newest version.

mod bytes;
mod changes;
mod commit;
mod content;
mod hydrate;
mod left_out;
mod pace;
mod round;
mod snapshot;
mod source;

use std::sync::Arc;

use sandgate_rpc::Shutdown;
use sandgate_spawn::memory::give_back;
use sandgate_telemetry::{propagation, semconv};
use sandgate_types::Clock;
use sandgate_workspace::ChunkingSeed;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::Instrument as _;
use tracing::field::Empty;

use self::pace::Pace;
use self::round::Round;
use self::snapshot::Snapshot;
use super::activity::Activity;
use super::peers::{PeerError, Versions};
use super::report::Reporter;
use super::runner::{Runner, RunnerError};

use self::left_out::LeftOut;
pub(crate) use commit::Change;
pub(crate) use hydrate::HydrateError;

/// Who may ask at a time.
const ASKERS_MAX: usize = 64;

/// Whether the workspace is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hydration {
    /// Not yet.
    Pending,
    /// It is.
    Complete,
    /// It cannot be; the sandbox is of no use.
    Failed,
}

/// What a sync stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Synced {
    /// The newest version; empty when the workspace has never held anything.
    pub(crate) version: String,
    /// What of the workspace is in no version.
    pub(crate) left_out: LeftOut,
}

/// Why a sync stored nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SyncError {
    /// The workspace is not there, or not whole.
    #[error("the workspace was not brought in")]
    NotHydrated,
    /// The runner could not show the workspace.
    #[error(transparent)]
    Runner(#[from] RunnerError),
    /// The kernel could not read a file that is there.
    #[error("a file of the workspace could not be read")]
    Unread(#[from] std::io::Error),
    /// The workspace has more entries than are synced.
    #[error(transparent)]
    TooMany(#[from] snapshot::TooMany),
    /// The store refused or could not be reached.
    #[error(transparent)]
    Store(#[from] PeerError),
    /// The head moved at every attempt.
    #[error("the head of the workspace moves faster than a version can be stored")]
    Contended,
    /// The keeper is ending, or as many ask as may.
    #[error("the keeper takes no syncs now")]
    Ending,
}

type Asker = oneshot::Sender<Result<Synced, Arc<SyncError>>>;

/// Where syncs are asked for.
#[derive(Debug, Clone)]
pub(crate) struct Syncer {
    askers: mpsc::Sender<Asker>,
    hydration: Arc<watch::Sender<Hydration>>,
}

/// What the task needs to begin.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) runner: Arc<Runner>,
    pub(crate) versions: Versions,
    pub(crate) reporter: Reporter,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) activity: Activity,
}

/// With what a session begins.
#[derive(Debug)]
pub(crate) struct Start {
    /// The version to bring in; empty for none.
    pub(crate) version: String,
    /// Where chunks are cut.
    pub(crate) seed: ChunkingSeed,
    /// The place in its trace of the call that gave all this.
    pub(crate) place: propagation::Context,
}

/// The task's state.
#[derive(Debug)]
struct Store {
    parts: Parts,
    seed: ChunkingSeed,
    snapshot: Snapshot,
    head: String,
    /// Whether somebody else's version was taken for the head: it may lack what the snapshot holds for stored.
    follows_others: bool,
}

impl Syncer {
    /// Starts the task, which waits for the session to begin; ends with `tasks`.
    pub(crate) fn spawn(parts: Parts, start: oneshot::Receiver<Start>, tasks: &Shutdown) -> Self {
        let (askers, asked) = mpsc::channel(ASKERS_MAX);
        let hydration = Arc::new(watch::Sender::new(Hydration::Pending));
        let (told, ending) = (Arc::clone(&hydration), tasks.clone());
        tasks.spawn("sync", async move {
            tokio::select! {
                () = run(parts, start, &told, asked) => {}
                () = ending.cancelled() => {}
            }
        });
        Self { askers, hydration }
    }

    /// Syncs now; everything that was written before the call is in the version.
    ///
    /// # Errors
    /// [`SyncError`]; what was stored before stands.
    pub(crate) async fn sync(&self) -> Result<Synced, Arc<SyncError>> {
        let (asker, answer) = oneshot::channel();
        let ending = |()| Arc::new(SyncError::Ending);
        self.askers.try_send(asker).map_err(|_| ending(()))?;
        answer.await.map_err(|_| ending(()))?
    }

    /// Waits until it is known whether the workspace is there.
    pub(crate) async fn hydrated(&self) -> Hydration {
        let mut hydration = self.hydration.subscribe();
        // The sender is `self`, so waiting cannot fail while anybody waits.
        let reached = hydration
            .wait_for(|hydration| *hydration != Hydration::Pending)
            .await;
        reached.map_or(Hydration::Pending, |hydration| *hydration)
    }
}

async fn run(
    parts: Parts,
    start: oneshot::Receiver<Start>,
    hydration: &watch::Sender<Hydration>,
    mut asked: mpsc::Receiver<Asker>,
) {
    let Ok(Start {
        version,
        seed,
        place,
    }) = start.await
    else {
        return;
    };
    let mut store = Store {
        parts,
        seed,
        snapshot: Snapshot::default(),
        head: String::new(),
        follows_others: false,
    };
    match store.bring_in(&version, place).await {
        Ok(()) => {
            hydration.send_replace(Hydration::Complete);
            store.parts.reporter.hydrated(&store.head);
            give_back();
        }
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the workspace could not be brought in"
            );
            hydration.send_replace(Hydration::Failed);
            store.parts.reporter.hydrate_failed(&error);
            while let Some(asker) = asked.recv().await {
                // Who asked and left needs no answer.
                let _left = asker.send(Err(Arc::new(SyncError::NotHydrated)));
            }
            return;
        }
    }
    store.serve(asked).await;
}

impl Store {
    /// Brings `version` in, as part of the trace of the call that named it; that call is answered long before.
    async fn bring_in(
        &mut self,
        version: &str,
        place: propagation::Context,
    ) -> Result<(), HydrateError> {
        if version.is_empty() {
            return Ok(());
        }
        let span =
            tracing::info_span!(parent: None, "hydrate", { semconv::OTEL_STATUS_CODE } = Empty);
        propagation::join(&span, place);
        let brought = self.hydrate(version).instrument(span.clone()).await;
        if brought.is_err() {
            span.record(semconv::OTEL_STATUS_CODE, "ERROR");
        }
        brought
    }

    async fn serve(mut self, mut asked: mpsc::Receiver<Asker>) {
        let mut pace = Pace::new(self.parts.activity.count());
        let activity = self.parts.activity.clone();
        loop {
            let asker = tokio::select! {
                asker = asked.recv() => match asker {
                    Some(asker) => Some(asker),
                    None => return,
                },
                () = pace.due(&activity) => None,
            };
            let mut askers: Vec<Asker> = asker.into_iter().collect();
            while let Ok(asker) = asked.try_recv() {
                askers.push(asker);
            }
            let (seen, began) = (activity.count(), Instant::now());
            let result = self.sync().await.map_err(Arc::new);
            pace.after(seen, began.elapsed(), result.is_ok());
            if let Err(error) = &result {
                tracing::warn!(
                    error = &**error as &dyn std::error::Error,
                    "the workspace could not be synced"
                );
            }
            for asker in askers {
                let _left = asker.send(result.clone());
            }
            // Many sandboxes idle beside each other, and each has just held megabytes of chunks.
            give_back();
        }
    }

    async fn sync(&mut self) -> Result<Synced, SyncError> {
        let before = self.head.clone();
        let synced = Round::of(self).run().await?;
        if synced.left_out.count() > 0 {
            tracing::warn!(
                count = synced.left_out.count(),
                names = ?synced.left_out.names(),
                "some of the workspace cannot be stored"
            );
        }
        if synced.version != before {
            self.parts.reporter.synced(&synced.version);
        }
        Ok(synced)
    }
}
