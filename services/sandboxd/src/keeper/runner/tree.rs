//! Single operations on the workspace that need no descriptor.

use super::{Runner, RunnerError, unexpected};
use crate::protocol::{self, Info, Listing, Outcome, Request};

impl Runner {
    /// What is at a path.
    ///
    /// # Errors
    /// [`RunnerError`].
    pub(crate) async fn stat(&self, path: Vec<u8>) -> Result<Info, RunnerError> {
        self.ask_info(Request::Stat(path)).await
    }

    /// Some of a directory: names behind `after`, at most `most`.
    ///
    /// # Errors
    /// [`RunnerError`].
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "any other answer is one that was not asked for"
    )]
    pub(crate) async fn list(
        &self,
        path: Vec<u8>,
        after: Vec<u8>,
        most: u32,
    ) -> Result<Listing, RunnerError> {
        match self
            .ask(Request::List(protocol::List { path, after, most }), &[])
            .await?
            .1
            .0
        {
            Outcome::Listing(listing) => Ok(listing),
            other => Err(unexpected(other)),
        }
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// [`RunnerError`].
    pub(crate) async fn make_directory(
        &self,
        path: Vec<u8>,
        mode: u32,
        make_parents: bool,
    ) -> Result<(), RunnerError> {
        self.ask_done(Request::MakeDirectory(protocol::MakeDirectory {
            path,
            mode,
            make_parents,
        }))
        .await
    }

    /// Moves a file or directory.
    ///
    /// # Errors
    /// [`RunnerError`].
    pub(crate) async fn rename(
        &self,
        source: Vec<u8>,
        target: Vec<u8>,
        replace: bool,
    ) -> Result<(), RunnerError> {
        self.ask_done(Request::Move(protocol::Move {
            source,
            target,
            replace,
        }))
        .await
    }

    /// Removes a file, or a directory with all below it where asked.
    ///
    /// # Errors
    /// [`RunnerError`].
    pub(crate) async fn remove(&self, path: Vec<u8>, recursive: bool) -> Result<(), RunnerError> {
        self.ask_done(Request::Remove(protocol::Remove { path, recursive }))
            .await
    }
}
