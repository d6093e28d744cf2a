//! Brings the workspace in: what the store streams goes to the runner, entry by entry, before any process of the
//! agent may start. Trouble that passes is waited out; what was brought by then is brought again.

use std::time::Duration;

use sandgate_types::Malformed;
use sandgate_workspace::tree::Mtime;
use sandgate_workspace::{Entry, Node};
use tokio::time::Instant;

use super::Store;
use super::changes::{fingerprint_of, read_at};
use super::snapshot::{ENTRIES_MAX, FileTime, TooMany};
use crate::keeper::peers::{Bringing, Brought, PeerError, Trouble};
use crate::keeper::runner::{ApplyStream, RunnerError};
use crate::protocol::{ApplyPart, Data, Info, Kind, Nothing, PIECE_MAX_BYTES, Time, WalkPart};

/// After this nothing is begun again: the orchestrator waits nine minutes for all of it.
const RETRY_MAX: Duration = Duration::from_secs(300);
/// Between the first two attempts; twice as long each time.
const PAUSE: Duration = Duration::from_millis(100);
/// But no longer than this.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The kernel's clock of files has gone on for sure after this.
const TICK: Duration = Duration::from_millis(12);

/// Why the workspace is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HydrateError {
    /// The store refused or could not be reached.
    #[error(transparent)]
    Store(#[from] PeerError),
    /// The stream ended before it was complete.
    #[error("the store's stream was cut")]
    Cut,
    /// The store sent something that no workspace has.
    #[error("the store sent something that no workspace has")]
    Malformed(#[from] Malformed),
    /// The runner could not make it.
    #[error(transparent)]
    Runner(#[from] RunnerError),
    /// It has more entries than are synced.
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

impl HydrateError {
    /// Whether the same may succeed a moment later.
    fn passes(&self) -> bool {
        match self {
            Self::Cut => true,
            Self::Store(error) => match error.trouble() {
                Trouble::Away | Trouble::Busy | Trouble::Overtaken => true,
                Trouble::Refused | Trouble::Broken => false,
            },
            Self::Malformed(_) | Self::Runner(_) | Self::TooMany(_) => false,
        }
    }
}

impl Store {
    /// Brings `version` in, and learns what it looks like.
    pub(super) async fn hydrate(&mut self, version: &str) -> Result<(), HydrateError> {
        let (begun, mut pause) = (Instant::now(), PAUSE);
        loop {
            match self.try_hydrate(version).await {
                Err(error) if error.passes() && begun.elapsed() < RETRY_MAX => {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "the workspace is brought in once more"
                    );
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                result => return result,
            }
        }
    }

    async fn try_hydrate(&mut self, version: &str) -> Result<(), HydrateError> {
        let mut stream = self.parts.versions.bring(version).await?;
        let mut apply = self.parts.runner.apply().await?;
        match bring(&mut stream, &mut apply).await {
            Ok(()) => apply.finish().await?,
            // The runner's reason is the better one: it may be that the disk is full.
            Err(Stopped::RunnerClosed) => {
                apply.finish().await?;
                return Err(HydrateError::Cut);
            }
            Err(Stopped::Store(error)) => {
                // It is cut, and says so; two at a time would be in each other's way.
                let _cut = apply.finish().await;
                return Err(error);
            }
        }
        version.clone_into(&mut self.head);
        self.learn().await
    }

    /// Notes every entry as stored, and as unchanged as long as its times are: nothing of the agent has run yet,
    /// and nothing will before the clock of files has gone on.
    async fn learn(&mut self) -> Result<(), HydrateError> {
        let mut walk = self.parts.runner.walk().await?;
        let mut newest = FileTime::default();
        while let Some(part) = walk.next().await? {
            match part {
                WalkPart::Entry(entry) => {
                    let Some(fingerprint) = fingerprint_of(&entry) else {
                        continue;
                    };
                    newest = newest.max(fingerprint.changed);
                    self.snapshot.brought(entry.path.into(), fingerprint);
                }
                WalkPart::Unknown(_) | WalkPart::LeftOut(_) | WalkPart::Done(_) => {}
            }
        }
        walk.finish().await?;
        let now = self.parts.clock.now();
        let rest = newest.plus(TICK).since(read_at(now)).min(TICK);
        tokio::time::sleep(rest).await;
        Ok(())
    }
}

/// Why not everything was brought.
enum Stopped {
    Store(HydrateError),
    RunnerClosed,
}

impl<E: Into<HydrateError>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

async fn bring(stream: &mut Bringing, apply: &mut ApplyStream) -> Result<(), Stopped> {
    let mut count = 0;
    while let Some(part) = stream.next().await? {
        match part? {
            // What it says is believed only where it refuses: what will come is told by what comes.
            Brought::Entries(entries) => at_most(usize::try_from(entries).ok())?,
            Brought::Entry(entry) => {
                count += 1;
                at_most(Some(count))?;
                send(apply, ApplyPart::Entry(info_of(entry))).await?;
            }
            Brought::Data { mut offset, bytes } => {
                for bytes in bytes.chunks(PIECE_MAX_BYTES) {
                    send(
                        apply,
                        ApplyPart::Data(Data {
                            offset,
                            bytes: bytes.to_vec(),
                        }),
                    )
                    .await?;
                    offset = offset.saturating_add(bytes.len() as u64);
                }
            }
            Brought::Done => return send(apply, ApplyPart::Done(Nothing {})).await,
        }
    }
    Err(HydrateError::Cut.into())
}

/// Whether so many entries can be synced later.
fn at_most(count: Option<usize>) -> Result<(), TooMany> {
    if count.is_some_and(|count| count <= ENTRIES_MAX) {
        Ok(())
    } else {
        Err(TooMany)
    }
}

async fn send(apply: &mut ApplyStream, part: ApplyPart) -> Result<(), Stopped> {
    apply.send(part).await.map_err(|_| Stopped::RunnerClosed)
}

fn info_of(entry: Entry<()>) -> Info {
    let Entry {
        path,
        mode,
        mtime: Mtime { seconds, nanos },
        node,
    } = entry;
    let (kind, size, link_target) = match node {
        Node::File { size, content: () } => (Kind::File, size, Vec::new()),
        Node::Directory => (Kind::Directory, 0, Vec::new()),
        Node::Symlink { target } => (Kind::Symlink, 0, target),
    };
    Info {
        path: path.into_bytes(),
        kind: kind.into(),
        size,
        mode,
        modified: Some(Time { seconds, nanos }),
        changed: None,
        inode: 0,
        link_target,
    }
}
