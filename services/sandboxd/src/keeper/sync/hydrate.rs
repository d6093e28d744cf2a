//! Brings the workspace in: what the store streams goes to the runner, entry by entry, before any process of the
//! agent may start. Trouble that passes is waited out; what was brought by then is brought again.

use std::time::Duration;

use sandgate_api::storage::v1 as pb;
use sandgate_api::storage::v1::hydrate_response::Part;
use sandgate_api::storage::v1::sync_service_client::SyncServiceClient;
use sandgate_types::Malformed;
use sandgate_workspace::tree::Mtime;
use sandgate_workspace::{Entry, Node};
use tokio::time::Instant;
use tonic::Code;

use super::Store;
use super::changes::{fingerprint_of, read_at};
use super::snapshot::{ENTRIES_MAX, FileTime, TooMany};
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
    #[error("the store answered {:?}", .0.code())]
    Store(#[from] Box<tonic::Status>),
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

impl From<tonic::Status> for HydrateError {
    fn from(status: tonic::Status) -> Self {
        Self::Store(Box::new(status))
    }
}

impl HydrateError {
    /// Whether the same may succeed a moment later.
    fn passes(&self) -> bool {
        match self {
            Self::Cut => true,
            Self::Store(answer) => passes(answer),
            Self::Malformed(_) | Self::Runner(_) | Self::TooMany(_) => false,
        }
    }
}

fn passes(answer: &tonic::Status) -> bool {
    match answer.code() {
        Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Unavailable
        // A token that is not good now is renewed meanwhile.
        | Code::Unauthenticated => true,
        // With a cause it is the connection's end, which is called so here and not by the store.
        Code::Internal => std::error::Error::source(answer).is_some(),
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::DataLoss => false,
    }
}

impl Store {
    /// Brings `version` in, and learns what it looks like.
    pub(super) async fn hydrate(&mut self, version: &str) -> Result<(), HydrateError> {
        if version.is_empty() {
            return Ok(());
        }
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
        let request = pb::HydrateRequest {
            version: version.to_owned(),
        };
        let mut client = SyncServiceClient::new(self.parts.channel.clone());
        let mut stream = client.hydrate(request).await?.into_inner();
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

    /// The version that is the head now.
    pub(super) async fn newest(&self) -> Result<String, tonic::Status> {
        let mut client = SyncServiceClient::new(self.parts.channel.clone());
        let mut stream = client
            .hydrate(pb::HydrateRequest {
                version: String::new(),
            })
            .await?
            .into_inner();
        // The header is all that is wanted; the stream is dropped behind it.
        match stream.message().await?.and_then(|first| first.part) {
            Some(Part::Header(pb::HydrateHeader { version, .. })) => Ok(version),
            Some(Part::Entry(_) | Part::Data(_) | Part::Done(_)) | None => Err(
                tonic::Status::data_loss("the store's stream does not begin with its header"),
            ),
        }
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

async fn bring(
    stream: &mut tonic::Streaming<pb::HydrateResponse>,
    apply: &mut ApplyStream,
) -> Result<(), Stopped> {
    let mut count = 0;
    while let Some(pb::HydrateResponse { part }) = stream.message().await? {
        match part {
            // What it says is believed only where it refuses: what will come is told by what comes.
            Some(Part::Header(header)) => at_most(usize::try_from(header.entries).ok())?,
            Some(Part::Entry(entry)) => {
                count += 1;
                at_most(Some(count))?;
                let entry = Entry::from_wire_without_content(entry)?;
                send(apply, ApplyPart::Entry(info_of(entry))).await?;
            }
            Some(Part::Data(pb::FileData { mut offset, data })) => {
                for bytes in data.chunks(PIECE_MAX_BYTES) {
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
            Some(Part::Done(_)) => {
                return send(apply, ApplyPart::Done(Nothing {})).await;
            }
            None => return Err(HydrateError::Cut.into()),
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
