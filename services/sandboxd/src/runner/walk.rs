//! Shows the keeper every entry of the workspace.

use sandgate_workspace::TreePath;
use sandgate_workspace::tree::{Skip, Tree, TreeError, Visit, WalkLimits};

use super::files::{info, why};
use super::stream::Frames;
use crate::protocol::{Nothing, WalkFrame, WalkPart, Why};

/// The most entries of a workspace that is synced, those included that are left out.
const ENTRIES_MAX: u64 = 250_000;

/// Why a walk was not completed.
enum Stopped {
    Tree(TreeError),
    /// The keeper closed its end.
    Gone,
}

impl From<TreeError> for Stopped {
    fn from(error: TreeError) -> Self {
        Self::Tree(error)
    }
}

/// Writes every entry to the stream, those included that are not stored.
pub(super) fn walk(tree: &Tree, frames: &mut Frames) -> Result<(), Why> {
    let mut show = |part| {
        frames
            .write(&WalkFrame { part: Some(part) })
            .map_err(|_| Stopped::Gone)
    };
    let walked = tree.walk(
        &TreePath::root(),
        WalkLimits {
            entries: ENTRIES_MAX,
        },
        |visit| match visit {
            Visit::Entry {
                path,
                stat,
                link_target,
            } => show(WalkPart::Entry(info(path.into_bytes(), &stat, link_target))),
            Visit::Skipped {
                path,
                why: Skip::Unreadable | Skip::Unnameable,
            } => show(WalkPart::Unknown(path.into_bytes())),
            Visit::Skipped {
                path,
                why: Skip::Special | Skip::Partial,
            } => show(WalkPart::LeftOut(path.into_bytes())),
        },
    );
    match walked.and_then(|_| show(WalkPart::Done(Nothing {}))) {
        Ok(()) => Ok(()),
        Err(Stopped::Tree(error)) => Err(why(error)),
        Err(Stopped::Gone) => Err(Why::Io),
    }
}
