//! What is on disk and not yet where everybody's records are collected.
//!
//! One task of a service ships: it takes a batch, sends it, and says how far the collector is. What was
//! acknowledged is noted in a file beside the segments, and whole segments behind it are removed.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sandgate_api::audit::v1 as pb;

use crate::segment::Segment;

const ENDING: &str = "acknowledged";

/// Records of one writer, in order.
#[derive(Debug)]
pub struct Batch {
    /// The writer.
    pub writer: String,
    /// Its next records, at least one.
    pub records: Vec<pb::Record>,
}

/// The segments of one folder.
#[derive(Debug)]
pub struct Backlog {
    folder: PathBuf,
    /// How far each writer's records are acknowledged.
    acknowledged: BTreeMap<String, i64>,
    /// Where each writer's records of the last batch stand, so that what was read is not read again.
    read: BTreeMap<String, Places>,
}

/// Where records of a segment stand.
#[derive(Debug)]
struct Places {
    /// The segment, by its first number.
    segment: i64,
    /// Numbers of records, ascending, each with the place of the frame behind it.
    behind: Vec<(i64, u64)>,
}

impl Places {
    /// From where a segment is read for the records behind the number `after`.
    fn from(&self, segment: &Segment, after: i64) -> u64 {
        if self.segment != segment.first {
            return 0;
        }
        let known = self.behind.partition_point(|(number, _)| *number <= after);
        let last = known.checked_sub(1).and_then(|last| self.behind.get(last));
        last.map_or(0, |(_, place)| *place)
    }
}

impl Backlog {
    /// Looks into the folder of a [`crate::Log`], and removes what earlier starts left and was acknowledged.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let mut acknowledged = BTreeMap::new();
        for segment in Segment::list(folder)? {
            let writer = segment.writer();
            let note = note_of(folder, &writer);
            if let Entry::Vacant(vacant) = acknowledged.entry(writer) {
                vacant.insert(read_number(&note));
            }
        }
        let backlog = Self {
            folder: folder.to_owned(),
            acknowledged,
            read: BTreeMap::new(),
        };
        backlog.tidy()?;
        Ok(backlog)
    }

    /// Removes what earlier starts left and the collector has, so that starts do not add up.
    fn tidy(&self) -> io::Result<()> {
        let mut left = BTreeSet::new();
        for segment in Segment::list(&self.folder)? {
            let writer = segment.writer();
            let acknowledged = self.acknowledged.get(&writer).copied().unwrap_or(0);
            let spent = segment.is_spent(acknowledged).and_then(|spent| {
                if spent {
                    fs::remove_file(&segment.path)?;
                }
                Ok(spent)
            });
            match spent {
                Ok(true) => {}
                Ok(false) => drop(left.insert(writer)),
                Err(error) => {
                    // It keeps no other from being shipped; that of its own writer says so, if it matters.
                    tracing::warn!(%error, writer, "a segment of the audit log cannot be looked at");
                    left.insert(writer);
                }
            }
        }
        for writer in self
            .acknowledged
            .keys()
            .filter(|writer| !left.contains(*writer))
        {
            match fs::remove_file(note_of(&self.folder, writer)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// The next records that were not acknowledged, at most `limit`; `None` when there are none. The
    /// writers of earlier starts come as they are listed.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub fn next(&mut self, limit: usize) -> io::Result<Option<Batch>> {
        for segment in Segment::list(&self.folder)? {
            let writer = segment.writer();
            let records = self.read(&segment, &writer, limit)?;
            if !records.is_empty() {
                return Ok(Some(Batch { writer, records }));
            }
        }
        Ok(None)
    }

    fn read(
        &mut self,
        segment: &Segment,
        writer: &str,
        limit: usize,
    ) -> io::Result<Vec<pb::Record>> {
        let after = self.acknowledged.get(writer).copied().unwrap_or(0);
        let known = self.read.get(writer);
        let from = known.map_or(0, |places| places.from(segment, after));
        let read = segment.read(from, after, limit)?;
        // Where there is nothing new, the places of what is acknowledged are still good.
        if !read.is_empty() {
            let behind = read.iter().map(|(record, place)| (record.sequence, *place));
            let places = Places {
                segment: segment.first,
                behind: behind.collect(),
            };
            self.read.insert(writer.to_owned(), places);
        }
        Ok(read.into_iter().map(|(record, _)| record).collect())
    }

    /// The writers of all segments.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn writers(&self) -> io::Result<BTreeSet<String>> {
        let segments = Segment::list(&self.folder)?.into_iter();
        Ok(segments.map(|segment| segment.writer()).collect())
    }

    /// A writer's next records that were not acknowledged, at most `limit`.
    ///
    /// # Errors
    /// When one of its segments cannot be read.
    pub fn next_of(&mut self, writer: &str, limit: usize) -> io::Result<Vec<pb::Record>> {
        for segment in Segment::list(&self.folder)? {
            if segment.writer() == writer {
                let records = self.read(&segment, writer, limit)?;
                if !records.is_empty() {
                    return Ok(records);
                }
            }
        }
        Ok(Vec::new())
    }

    /// Notes that the collector has all of a writer's records up to a number, and removes segments that
    /// hold no later ones. The newest segment of a writer stays: it may be open.
    ///
    /// # Errors
    /// When the note cannot be written; the records are sent again then, which changes nothing.
    pub fn acknowledge(&mut self, writer: &str, up_to: i64) -> io::Result<()> {
        let note = note_of(&self.folder, writer);
        let temporary = note.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(up_to.to_string().as_bytes())?;
        fs::rename(&temporary, &note)?;
        self.acknowledged.insert(writer.to_owned(), up_to);
        let segments: Vec<Segment> = Segment::list(&self.folder)?
            .into_iter()
            .filter(|segment| segment.writer() == writer)
            .collect();
        for pair in segments.windows(2) {
            if let [whole, next] = pair
                && next.first <= up_to.saturating_add(1)
            {
                fs::remove_file(&whole.path)?;
            }
        }
        Ok(())
    }
}

fn note_of(folder: &Path, writer: &str) -> PathBuf {
    folder.join(format!("{}.{ENDING}", writer.replace('/', ".")))
}

/// A note that is damaged, or cannot be read, counts as none: records are sent again, and found to be there.
fn read_number(path: &Path) -> i64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}
