//! Segment files: frames of a length and an encoded record, appended and never rewritten.
//!
//! A crash can leave half a frame at the end. It was never acknowledged to anybody, so reading stops before
//! it; what lies behind a frame that is not whole is not read either.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use prost::Message as _;
use sandgate_api::audit::v1 as pb;

use crate::record::{HASH_BYTES, hash_of};

/// A segment is closed at this size, so that what was shipped can go.
pub(crate) const SEGMENT_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// A record has a dozen fields of at most 256 bytes; a longer frame is no frame.
const FRAME_MAX_BYTES: usize = 8 * 1024;
/// A frame begins with the length of what follows.
const LENGTH_BYTES: usize = 4;
const ENDING: &str = "segment";

/// A segment by its file's name: `<service>.<start>.<first number>.segment`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Segment {
    pub(crate) service: String,
    pub(crate) start: String,
    pub(crate) first: i64,
    pub(crate) path: PathBuf,
}

impl Segment {
    /// The segment of a writer that begins with the record `first`.
    pub(crate) fn new(folder: &Path, service: &str, start: &str, first: i64) -> Self {
        // Zero-padded, so that a listing is in order.
        let name = format!("{service}.{start}.{first:020}.{ENDING}");
        Self {
            service: service.to_owned(),
            start: start.to_owned(),
            first,
            path: folder.join(name),
        }
    }

    /// The writer's name in records.
    pub(crate) fn writer(&self) -> String {
        format!("{}/{}", self.service, self.start)
    }

    /// All segments of a folder, each writer's in order.
    pub(crate) fn list(folder: &Path) -> io::Result<Vec<Self>> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .and_then(OsStr::to_str)
                .unwrap_or_default()
                .to_owned();
            let parts: Vec<&str> = name.split('.').collect();
            if let [service, start, first, ENDING] = parts.as_slice()
                && let Ok(first) = first.parse()
            {
                segments.push(Self {
                    service: (*service).to_owned(),
                    start: (*start).to_owned(),
                    first,
                    path: path.clone(),
                });
            }
        }
        segments.sort();
        Ok(segments)
    }

    /// Whether nobody writes it any more and all that it holds is acknowledged. One that ends in something else
    /// than a whole record is evidence, and never spent.
    pub(crate) fn is_spent(&self, acknowledged: i64) -> io::Result<bool> {
        let file = File::open(&self.path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let length = file.metadata()?.len();
        let mut reader = BufReader::new(&file);
        let mut whole = 0;
        while let Some((record, bytes)) = next_record(&mut reader)? {
            if record.sequence > acknowledged {
                return Ok(false);
            }
            whole += bytes;
        }
        Ok(whole == length)
    }

    /// The whole records of the segment behind the number `after`, at most `limit`, each with the place of the
    /// frame that follows it. `from` is the place of a frame, before which there is none that is wanted.
    pub(crate) fn read(
        &self,
        from: u64,
        after: i64,
        limit: usize,
    ) -> io::Result<Vec<(pb::Record, u64)>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(from))?;
        let mut reader = BufReader::new(file);
        let mut place = from;
        let mut records = Vec::new();
        while records.len() < limit
            && let Some((record, bytes)) = next_record(&mut reader)?
        {
            place += bytes;
            if record.sequence > after {
                records.push((record, place));
            }
        }
        Ok(records)
    }
}

/// Appends the frame of a record that has no hash yet, and answers the hash that it has there.
///
/// A message's encoding may be followed by that of more of its fields, so what the hash covers is written once.
pub(crate) fn frame_sealed(bare: &pb::Record, to: &mut Vec<u8>) -> [u8; HASH_BYTES] {
    let at = to.len();
    to.extend_from_slice(&[0; LENGTH_BYTES]);
    // Fails where there is no room; a vector makes it.
    let _infallible = bare.encode(to);
    let hash = *blake3::hash(&to[at + LENGTH_BYTES..]).as_bytes();
    let rest = pb::Record {
        hash: hash.to_vec(),
        ..pb::Record::default()
    };
    let _infallible = rest.encode(to);
    let length = u32::try_from(to.len() - at - LENGTH_BYTES).unwrap_or(u32::MAX);
    to[at..at + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    hash
}

/// The next whole record, and how long its frame is; nothing at the end, or before a frame that is not whole.
fn next_record(reader: &mut impl Read) -> io::Result<Option<(pb::Record, u64)>> {
    let mut length = [0; LENGTH_BYTES];
    if !filled(reader, &mut length)? {
        return Ok(None);
    }
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > FRAME_MAX_BYTES {
        return Ok(None);
    }
    let mut bytes = vec![0; length];
    if !filled(reader, &mut bytes)? {
        return Ok(None);
    }
    let record = pb::Record::decode(bytes.as_slice()).ok();
    let record = record.filter(|record| record.hash == hash_of(record));
    let frame = u64::try_from(LENGTH_BYTES + length).unwrap_or(u64::MAX);
    Ok(record.map(|record| (record, frame)))
}

fn filled(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
