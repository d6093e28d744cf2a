//! Applying changes to a version: which entries of the parent stay, and which changes may be.
//!
//! Everything arrives in the order of paths as raw bytes, so only paths of which the present one is a continuation
//! need remembering: a stack of at most as many paths as one path has bytes, whatever the size of the version.

use sandgate_types::Malformed;

use crate::{Entry, TreePath};

/// The decisions of one merge. For each path in ascending order the caller calls one of [`Merge::keeps`],
/// [`Merge::upserts`] and [`Merge::removes`]; a change comes instead of the parent's entry of that path.
#[derive(Debug, Default)]
pub struct Merge {
    /// What was removed, or is no directory any more, and may have had something below it.
    gone: Vec<TreePath>,
    /// Directories of the new version, under which later paths may lie.
    directories: Vec<TreePath>,
}

impl Merge {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the parent's entry, which no change names, is in the new version: not when something above it is gone.
    pub fn keeps<C>(&mut self, entry: &Entry<C>) -> bool {
        self.advance(&entry.path);
        if self.gone.iter().any(|gone| entry.path.is_below(gone)) {
            return false;
        }
        self.enter(entry);
        true
    }

    /// Takes an entry that is new or changed. One that is no directory takes what the parent had below it away.
    ///
    /// # Errors
    /// When the directory that holds it is not in the new version.
    pub fn upserts<C>(&mut self, entry: &Entry<C>) -> Result<(), Malformed> {
        self.advance(&entry.path);
        let parent = entry.path.parent().unwrap_or(TreePath::root());
        if !parent.is_root() && !self.directories.contains(&parent) {
            return Err(Malformed::new(
                "path",
                "must lie in a directory of the new version",
            ));
        }
        if !entry.is_directory() {
            self.gone.push(entry.path.clone());
        }
        self.enter(entry);
        Ok(())
    }

    /// Takes the entry at `path` away, and everything below it. What is not there may be removed.
    pub fn removes(&mut self, path: &TreePath) {
        self.advance(path);
        self.gone.push(path.clone());
    }

    fn enter<C>(&mut self, entry: &Entry<C>) {
        if entry.is_directory() {
            self.directories.push(entry.path.clone());
        }
    }

    /// Forgets paths below which nothing can lie from `path` on.
    fn advance(&mut self, path: &TreePath) {
        // What lies below `a` begins with `a/`; past all that begins with `a`, or with a byte after `/`, it is over.
        let is_over = |earlier: &TreePath| {
            let (earlier, path) = (earlier.as_bytes(), path.as_bytes());
            !path.starts_with(earlier) || path.get(earlier.len()).is_some_and(|next| *next > b'/')
        };
        while self.gone.last().is_some_and(is_over) {
            self.gone.pop();
        }
        while self.directories.last().is_some_and(is_over) {
            self.directories.pop();
        }
    }
}
