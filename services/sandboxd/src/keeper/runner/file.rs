//! Files of the workspace, opened inside and read and written from here.
//!
//! A descriptor says itself what it is: only a regular file of a file system that stores is taken, never one of
//! those behind which the kernel waits or acts.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{FileType, OFlags, fstat, fstatfs};

use super::{Runner, RunnerError};
use crate::protocol::{Commit, Create, Info, Request};

/// File systems whose files are not storage: procfs, sysfs, debugfs, tracefs, securityfs, and both of cgroups.
const NOT_STORAGE: [i64; 7] = [
    0x9fa0,
    0x6265_6572,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0x0027_e0eb,
    0x6367_7270,
];

/// A file that is being written, and appears when it is committed. Dropped, it is gone.
#[derive(Debug)]
pub(crate) struct NewFile {
    runner: Arc<Runner>,
    id: u64,
    file: File,
    committed: bool,
}

impl Runner {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// [`RunnerError`].
    pub(crate) async fn open(&self, path: Vec<u8>) -> Result<File, RunnerError> {
        let (_, descriptor) = self.ask_descriptor(Request::Open(path)).await?;
        storage(descriptor)
    }

    /// Begins a file.
    ///
    /// # Errors
    /// [`RunnerError`].
    pub(crate) async fn create(
        self: &Arc<Self>,
        path: Vec<u8>,
        make_parents: bool,
    ) -> Result<NewFile, RunnerError> {
        let (id, descriptor) = self
            .ask_descriptor(Request::Create(Create { path, make_parents }))
            .await?;
        match storage(descriptor) {
            Ok(file) => Ok(NewFile {
                runner: Arc::clone(self),
                id,
                file,
                committed: false,
            }),
            Err(error) => {
                self.abandon(id);
                Err(error)
            }
        }
    }
}

impl NewFile {
    /// The file, to be filled.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives the file its permissions and its name, in place of what file or link is there.
    ///
    /// # Errors
    /// [`RunnerError`].
    pub(crate) async fn commit(mut self, mode: u32) -> Result<Info, RunnerError> {
        self.committed = true;
        self.runner
            .ask_info(Request::Commit(Commit {
                file: self.id,
                mode,
            }))
            .await
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.committed {
            self.runner.abandon(self.id);
        }
    }
}

fn storage(descriptor: OwnedFd) -> Result<File, RunnerError> {
    let stat = fstat(&descriptor).map_err(|_| RunnerError::Senseless)?;
    let system = fstatfs(&descriptor).map_err(|_| RunnerError::Senseless)?;
    let path_only =
        rustix::fs::fcntl_getfl(&descriptor).map_or(true, |flags| flags.contains(OFlags::PATH));
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !regular || path_only || NOT_STORAGE.contains(&system.f_type) {
        return Err(RunnerError::Senseless);
    }
    Ok(File::from(descriptor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_that_is_no_stored_file_is_refused() {
        let (pipe, _other) = rustix::pipe::pipe().expect("a pipe");
        assert!(storage(pipe).is_err());
        for path in ["/proc/self/status", "/dev/null", "/"] {
            assert!(
                storage(File::open(path).expect(path).into()).is_err(),
                "{path}"
            );
        }
        let file = tempfile::tempfile().expect("a file");
        assert!(storage(file.into()).is_ok());
    }
}
