//! Where a sparse file has data.

use std::fs::File;
use std::ops::Range;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::TreeError;

/// The next stretch of data at or after `from` in the first `size` bytes of `file`; `None` when only a hole is
/// left. A file system that knows no holes answers one stretch. Moves the file's position.
///
/// # Errors
/// What the kernel answers.
pub fn next_data(file: &File, from: u64, size: u64) -> Result<Option<Range<u64>>, TreeError> {
    if from >= size {
        return Ok(None);
    }
    let start = match rustix::fs::seek(file, SeekFrom::Data(from)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some(from..size)),
        Err(errno) => return Err(errno.into()),
    };
    if start >= size {
        return Ok(None);
    }
    let end = rustix::fs::seek(file, SeekFrom::Hole(start))?;
    Ok(Some(start..end.min(size)))
}
