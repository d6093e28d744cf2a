//! The bytes of an opened file, and nothing that is not in it: what the kernel cannot read is an error, never zeros.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use sandgate_workspace::CHUNK_MAX_BYTES;
use sandgate_workspace::tree::next_data;

use super::snapshot::{FileTime, Fingerprint, Kind};

/// The least that an extent of a file takes; no file system keeps less apart.
const EXTENT_MIN_BYTES: u64 = 512;

/// What an opened file looks like; `None` for what is no file.
///
/// # Errors
/// What the kernel says.
pub(super) fn look_at(file: &File) -> io::Result<Option<Fingerprint>> {
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Ok(None);
    }
    let time = |seconds, nanos: i64| FileTime {
        seconds,
        nanos: u32::try_from(nanos).unwrap_or(0),
    };
    Ok(Some(Fingerprint {
        kind: Kind::File,
        mode: facts.mode() & 0o777,
        size: facts.size(),
        inode: facts.ino(),
        modified: time(facts.mtime(), facts.mtime_nsec()),
        changed: time(facts.ctime(), facts.ctime_nsec()),
    }))
}

/// The next stretch of data in the first `size` bytes; `None` when only a hole is left.
///
/// # Errors
/// What the kernel says.
pub(super) fn extent(file: &File, from: u64, size: u64) -> io::Result<Option<Range<u64>>> {
    next_data(file, from, size).map_err(io::Error::other)
}

/// Reads some of the data at `position`; none only when the file is not any more what it was.
///
/// # Errors
/// What the kernel says, and when it gives nothing of a file that looks as it did.
pub(super) fn read_at(
    file: &File,
    buffer: &mut [u8],
    position: u64,
    was: Fingerprint,
) -> io::Result<usize> {
    let count = loop {
        match file.read_at(buffer, position) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    if count == 0 && look_at(file)? == Some(was) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(count)
}

/// Whether the file has more than `most` pieces, as far as its extents tell without reading them.
///
/// # Errors
/// What the kernel says.
pub(super) fn has_more_pieces(file: &File, size: u64, most: usize) -> io::Result<bool> {
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    if size / EXTENT_MIN_BYTES <= most {
        return Ok(false);
    }
    let chunk = u64::try_from(CHUNK_MAX_BYTES).unwrap_or(u64::MAX);
    let (mut pieces, mut position) = (0, 0);
    while let Some(data) = extent(file, position, size)? {
        pieces += u64::from(data.start > position) + (data.end - data.start).div_ceil(chunk);
        position = data.end;
        if pieces > most {
            return Ok(true);
        }
        // A file that is cut short meanwhile has no more; the reading sees that.
        if data.is_empty() {
            break;
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(content: &[u8]) -> (tempfile::NamedTempFile, Fingerprint) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), content).expect("written");
        let was = look_at(file.as_file()).expect("there").expect("a file");
        (file, was)
    }

    #[test]
    fn what_the_kernel_refuses_to_read_is_an_error_and_no_end() {
        let (file, was) = of(b"content");
        let unreadable = std::fs::OpenOptions::new().write(true).open(file.path());
        let unreadable = unreadable.expect("opened for writing alone");
        assert!(read_at(&unreadable, &mut [0; 4], 0, was).is_err());
        let (pipe, _other) = rustix::pipe::pipe().expect("a pipe");
        assert!(
            extent(&File::from(pipe), 0, 4).is_err(),
            "no place to look for data in"
        );
    }

    #[test]
    fn nothing_to_read_is_an_end_only_of_a_file_that_was_cut_short() {
        let (file, was) = of(b"content");
        assert!(read_at(file.as_file(), &mut [0; 4], was.size, was).is_err());
        file.as_file().set_len(3).expect("cut short");
        let count = read_at(file.as_file(), &mut [0; 4], 3, was);
        assert_eq!(count.expect("an end"), 0);
    }

    #[test]
    fn a_file_of_many_extents_is_known_before_it_is_read() {
        let file = tempfile::tempfile().expect("a file");
        let block = 4096;
        let extents = 8;
        for number in 0..extents {
            let at = (2 * number + 1) * block;
            file.write_all_at(b"x", at).expect("written");
        }
        let size = 2 * extents * block;
        assert!(has_more_pieces(&file, size, 15).expect("looked at"));
        assert!(!has_more_pieces(&file, size, 16).expect("looked at"));
    }
}
