//! Versions, and the moves of a head.

use sandgate_types::{RequestId, Timestamp, UploadId, VersionId, WorkspaceId};
use sandgate_workspace::BlobName;
use sandgate_workspace::manifest::Root;

/// How a version came about. The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A sandbox synced it.
    Sync = 1,
    /// A file was written without a sandbox.
    Write = 2,
    /// An older version was restored.
    Restore = 3,
}

/// An immutable version of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its id.
    pub id: VersionId,
    /// Its place among the versions of its workspace.
    pub number: i64,
    /// The version that it was made from.
    pub parent: Option<VersionId>,
    /// What it holds.
    pub root: Root,
    /// How it came about.
    pub origin: Origin,
    /// When.
    pub created_at: Timestamp,
}

/// A version about to become the head: its chunks and pages are stored.
#[derive(Debug)]
pub struct Advance {
    /// Of which workspace.
    pub workspace: WorkspaceId,
    /// The id that it will have.
    pub id: VersionId,
    /// The head that it is made from; when the head is another one by now, nothing happens.
    pub parent: Option<VersionId>,
    /// What it holds.
    pub root: Root,
    /// How it came about.
    pub origin: Origin,
    /// What is settled in the same transaction.
    pub settles: Settles,
    /// When.
    pub now: Timestamp,
}

/// What a new version settles.
#[derive(Debug)]
pub enum Settles {
    /// An upload: its chunks become the workspace's.
    Upload(Commit),
    /// A request that may have named itself, with the chunks that it brought.
    Request {
        /// The request, by which a repetition finds the version.
        memo: Option<Memo>,
        /// Names and lengths.
        chunks: Vec<(BlobName, u32)>,
    },
}

/// The commit of an upload.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Which upload.
    pub upload: UploadId,
    /// A hash of what was committed, so that a repetition is known from another commit.
    pub fingerprint: [u8; 32],
    /// Whose.
    pub run: Run,
}

/// A request that named itself.
#[derive(Debug, Clone)]
pub struct Memo {
    /// Whose id it is, and of which method.
    pub scope: String,
    /// The id.
    pub request: RequestId,
    /// A hash of the request.
    pub fingerprint: [u8; 32],
}

/// One run of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The sandbox.
    pub sandbox: sandgate_types::SandboxId,
    /// Its instance.
    pub instance: sandgate_types::InstanceId,
    /// Its generation.
    pub generation: sandgate_types::Generation,
}

// === impl Origin ===

impl Origin {
    /// The stored number.
    pub fn number(self) -> i64 {
        self as i64
    }

    /// The origin that has this number.
    pub fn from_number(number: i64) -> Option<Self> {
        [Self::Sync, Self::Write, Self::Restore]
            .into_iter()
            .find(|origin| origin.number() == number)
    }
}
