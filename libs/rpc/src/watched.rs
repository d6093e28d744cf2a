//! Files that are looked at again and again: whatever is made of them takes the place of what was, whole or not at
//! all.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use parking_lot::{Mutex, RwLock};
use sandgate_types::Malformed;

/// Enough of files' facts to notice any change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fingerprint(Vec<(PathBuf, Option<Facts>)>);

/// Device, inode, size, times of content and of facts.
type Facts = (u64, u64, u64, (i64, i64), (i64, i64));

impl Fingerprint {
    /// What the files look like now.
    pub fn of(paths: &BTreeSet<PathBuf>) -> Self {
        let facts = |facts: Metadata| {
            (
                facts.dev(),
                facts.ino(),
                facts.size(),
                (facts.mtime(), facts.mtime_nsec()),
                (facts.ctime(), facts.ctime_nsec()),
            )
        };
        let seen = paths.iter().map(|path| {
            let found = std::fs::metadata(path).ok().map(facts);
            (path.clone(), found)
        });
        Self(seen.collect())
    }

    /// What the same files look like now.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::of(&self.0.iter().map(|(path, _)| path.clone()).collect())
    }
}

type Read<T> = Box<dyn Fn() -> Result<T, Malformed> + Send + Sync>;

/// What was made of files, and how it is made anew.
pub struct Watched<T> {
    read: Read<T>,
    seen: Mutex<Seen>,
    current: RwLock<T>,
}

/// The files at the last look, and whether what is current was made of them.
struct Seen {
    files: Fingerprint,
    taken: bool,
}

impl<T: Clone> Watched<T> {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn start(
        files: impl IntoIterator<Item = PathBuf>,
        read: impl Fn() -> Result<T, Malformed> + Send + Sync + 'static,
    ) -> Result<Self, Malformed> {
        // Looked at before they are read: what is written meanwhile is seen the next time.
        let files = Fingerprint::of(&files.into_iter().collect());
        let current = RwLock::new(read()?);
        let taken = true;
        Ok(Self {
            seen: Mutex::new(Seen { files, taken }),
            current,
            read: Box::new(read),
        })
    }

    /// What was last made of them.
    pub fn current(&self) -> T {
        self.current.read().clone()
    }

    /// Looks whether the files have changed, takes what is there, and answers whether that is new. What could not be
    /// read is read again at the next look: it may have been for want of a descriptor, and not for the files.
    ///
    /// # Errors
    /// What is wrong with them, once for each change; the last good one goes on.
    pub fn look(&self) -> Result<bool, Malformed> {
        // Held while they are read: of two who look at once, the one with the older files must not be the last.
        let mut seen = self.seen.lock();
        let files = seen.files.again();
        let changed = seen.files != files;
        if seen.taken && !changed {
            return Ok(false);
        }
        let newer = (self.read)();
        *seen = Seen {
            files,
            taken: newer.is_ok(),
        };
        match newer {
            Ok(newer) => *self.current.write() = newer,
            Err(problem) if changed => return Err(problem),
            Err(_told_before) => return Ok(false),
        }
        Ok(true)
    }
}

impl<T> std::fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn what_changes_is_taken_whole_and_what_is_broken_is_told_once_and_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("number");
        let write = |text: &str| std::fs::write(&file, text).expect("write");
        write("1");
        let from = file.clone();
        let watched = Watched::start([file.clone()], move || {
            let text = std::fs::read_to_string(&from).unwrap_or_default();
            text.parse::<u32>()
                .map_err(|_| Malformed::new("number", "must be one"))
        });
        let watched = watched.expect("a number");
        assert_eq!((watched.look(), watched.current()), (Ok(false), 1));
        write("22");
        assert_eq!((watched.look(), watched.current()), (Ok(true), 22));
        write("two");
        assert!(watched.look().is_err());
        assert_eq!((watched.look(), watched.current()), (Ok(false), 22));
        std::fs::remove_file(&file).expect("remove");
        assert!(watched.look().is_err());
        write("333");
        assert_eq!((watched.look(), watched.current()), (Ok(true), 333));
    }

    #[test]
    fn what_could_not_be_read_once_is_taken_though_it_does_not_change_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("number");
        std::fs::write(&file, "1").expect("write");
        let (from, crowded) = (file.clone(), Arc::new(AtomicBool::new(false)));
        let is_crowded = Arc::clone(&crowded);
        let watched = Watched::start([file.clone()], move || {
            if is_crowded.load(Ordering::Relaxed) {
                return Err(Malformed::new("number", "must be readable"));
            }
            Ok(std::fs::read_to_string(&from).unwrap_or_default())
        });
        let watched = watched.expect("a text");
        crowded.store(true, Ordering::Relaxed);
        std::fs::write(&file, "22").expect("write");
        assert!(watched.look().is_err());
        assert_eq!(watched.look(), Ok(false), "told once");
        crowded.store(false, Ordering::Relaxed);
        assert_eq!(watched.look(), Ok(true));
        assert_eq!(watched.current(), "22");
    }
}
