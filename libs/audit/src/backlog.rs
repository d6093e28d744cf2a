//! What is on disk and not yet where everybody's records are collected.
//!
//! One task of a service ships: it takes a batch, sends it, and says how far the collector is. What was
//! acknowledged is noted in a file beside the segments, and whole segments behind it are removed.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
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
                vacant.insert(read_number(&note)?);
            }
        }
        let backlog = Self {
            folder: folder.to_owned(),
            acknowledged,
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
            if segment.is_spent(acknowledged)? {
                fs::remove_file(&segment.path)?;
            } else {
                left.insert(writer);
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
    pub fn next(&self, limit: usize) -> io::Result<Option<Batch>> {
        for segment in Segment::list(&self.folder)? {
            let writer = segment.writer();
            let after = self.acknowledged.get(&writer).copied().unwrap_or(0);
            let records = segment.read(after, limit)?;
            if !records.is_empty() {
                return Ok(Some(Batch { writer, records }));
            }
        }
        Ok(None)
    }

    /// Notes that the collector has all of a writer's records up to a number, and removes segments that
    /// hold no later ones. The newest segment of a writer stays: it may be open.
    ///
    /// # Errors
    /// When the note cannot be written; the records are sent again then, which changes nothing.
    pub fn acknowledge(&mut self, writer: &str, up_to: i64) -> io::Result<()> {
        let note = note_of(&self.folder, writer);
        let temporary = note.with_extension("new");
        fs::write(&temporary, up_to.to_string())?;
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

fn read_number(path: &Path) -> io::Result<i64> {
    match fs::read_to_string(path) {
        // A note that is damaged counts as none: records are sent again, and found to be there.
        Ok(text) => Ok(text.trim().parse().unwrap_or(0)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}
