//! The writer: takes records in order, and has one thread that writes and syncs them in groups.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use sandgate_types::{AuditEventId, Clock};
use tokio::sync::watch;

use crate::record::{Entry, HASH_BYTES, bare};
use crate::segment::{SEGMENT_MAX_BYTES, Segment, frame_sealed};

/// Records that may wait for the disk. At a few hundred bytes each it bounds memory, and a disk that is
/// this far behind has to stop whoever decides.
pub const QUEUE_MAX: usize = 8_192;
/// How long a record for whose place on the disk nobody waits may lie in memory once the write before it is done:
/// the calls of that time share one write, which costs more than any of them.
const LINGER: Duration = Duration::from_millis(10);
/// So many records are written without lingering, so that the room for new ones does not shrink.
const GROUP_MAX: usize = QUEUE_MAX / 8;

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("open the audit log in {folder}")]
pub struct OpenError {
    folder: PathBuf,
    #[source]
    source: io::Error,
}

/// Why a record was not taken. Whoever decides must refuse what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As many wait as may.
    #[error("the audit log is behind")]
    Full,
    /// The disk refused; nothing is taken until the process starts again.
    #[error("the audit log cannot be written")]
    Broken,
}

/// A log that is open; the last clone that goes closes it, with all that was taken written.
#[derive(Debug, Clone)]
pub struct Log(Arc<Inner>);

/// A record that was taken.
#[derive(Debug)]
pub struct Receipt {
    sequence: i64,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    writer: String,
    clock: Arc<dyn Clock>,
    queue: Mutex<Queue>,
    /// Rung when there is something to write, somebody waits for it, or nothing more will come.
    bell: Condvar,
    written: watch::Sender<Written>,
}

#[derive(Debug)]
struct Queue {
    next: i64,
    previous: [u8; HASH_BYTES],
    frames: Vec<u8>,
    waiting: usize,
    /// Whether somebody waits for what is in `frames`.
    awaited: bool,
    closed: bool,
    broken: bool,
}

/// How far the disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Written {
    up_to: i64,
    broken: bool,
}

impl Log {
    /// Opens the log of one start of `service` in `folder`, which is made when it is missing.
    ///
    /// # Errors
    /// [`OpenError`]; a service without its log must not serve.
    pub fn open(
        folder: &Path,
        service: &str,
        start: &AuditEventId,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let failed = |source| OpenError {
            folder: folder.to_owned(),
            source,
        };
        fs::create_dir_all(folder).map_err(failed)?;
        let first = Segment::new(folder, service, start.as_str(), 1);
        let file = create(&first).map_err(failed)?;
        let shared = Arc::new(Shared {
            writer: first.writer(),
            clock,
            queue: Mutex::new(Queue {
                next: 1,
                previous: [0; HASH_BYTES],
                frames: Vec::new(),
                waiting: 0,
                awaited: false,
                closed: false,
                broken: false,
            }),
            bell: Condvar::new(),
            written: watch::Sender::new(Written {
                up_to: 0,
                broken: false,
            }),
        });
        let mut disk = Disk {
            folder: folder.to_owned(),
            segment: first,
            file,
            bytes: 0,
        };
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("audit log".to_owned())
            .spawn(move || for_thread.write_all_to(&mut disk))
            .map_err(failed)?;
        Ok(Self(Arc::new(Inner {
            shared,
            thread: Mutex::new(Some(thread)),
        })))
    }

    /// The writer's name in records.
    pub fn writer(&self) -> &str {
        &self.0.shared.writer
    }

    /// Puts a record into the chain. Its place is fixed when this returns; it is on disk when the receipt
    /// says so.
    ///
    /// # Errors
    /// [`Refused`]: then nothing is on record, and what it is about must not happen.
    pub fn append(&self, entry: Entry) -> Result<Receipt, Refused> {
        let shared = &self.0.shared;
        let mut queue = shared.queue.lock();
        if queue.broken || queue.closed {
            return Err(Refused::Broken);
        }
        if queue.waiting >= entry.decision.room() {
            return Err(Refused::Full);
        }
        let sequence = queue.next;
        // Inside the lock: the clock is read in the order of the chain.
        let at = shared.clock.now();
        let record = bare(&shared.writer, sequence, at, queue.previous, entry);
        let is_first = queue.frames.is_empty();
        queue.previous = frame_sealed(&record, &mut queue.frames);
        queue.next += 1;
        queue.waiting += 1;
        let is_group = queue.waiting == GROUP_MAX;
        drop(queue);
        // The records between are written with these, whether or not the bell rings for them.
        if is_first || is_group {
            shared.bell.notify_one();
        }
        Ok(Receipt {
            sequence,
            shared: Arc::clone(shared),
        })
    }

    /// Whether records are taken at the moment; what a service's readiness asks.
    pub fn is_usable(&self) -> bool {
        let queue = self.0.shared.queue.lock();
        !queue.broken && !queue.closed && queue.waiting < QUEUE_MAX
    }
}

impl Receipt {
    /// The record's number.
    pub fn sequence(&self) -> i64 {
        self.sequence
    }

    /// Waits until the record is on disk.
    ///
    /// # Errors
    /// [`Refused::Broken`], when the disk did not take it.
    pub async fn durable(self) -> Result<(), Refused> {
        let Self { sequence, shared } = self;
        let mut written = shared.written.subscribe();
        shared.hurry();
        let reached = written
            .wait_for(|written| written.up_to >= sequence || written.broken)
            .await;
        match reached {
            Ok(written) if written.up_to >= sequence => Ok(()),
            Ok(_) | Err(_) => Err(Refused::Broken),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.bell.notify_one();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the audit log panicked");
        }
    }
}

impl Shared {
    /// Has what lies in memory written at once.
    fn hurry(&self) {
        let mut queue = self.queue.lock();
        if !queue.frames.is_empty() && !queue.awaited {
            queue.awaited = true;
            drop(queue);
            self.bell.notify_one();
        }
    }

    /// Writes groups until the log is closed and nothing is left, or the disk refuses.
    fn write_all_to(&self, disk: &mut Disk) {
        loop {
            let (frames, up_to) = {
                let mut queue = self.queue.lock();
                while queue.frames.is_empty() {
                    if queue.closed {
                        return;
                    }
                    self.bell.wait(&mut queue);
                }
                let is_due =
                    |queue: &mut Queue| queue.awaited || queue.closed || queue.waiting >= GROUP_MAX;
                if !is_due(&mut queue) {
                    self.bell
                        .wait_while_for(&mut queue, |queue| !is_due(queue), LINGER);
                }
                queue.awaited = false;
                (std::mem::take(&mut queue.frames), queue.next - 1)
            };
            let outcome = disk.write(&frames, up_to + 1);
            let mut queue = self.queue.lock();
            queue.waiting = usize::try_from(queue.next - 1 - up_to).unwrap_or(usize::MAX);
            if let Err(error) = outcome {
                queue.broken = true;
                tracing::error!(%error, "the audit log cannot be written");
                self.written.send_modify(|written| written.broken = true);
                return;
            }
            drop(queue);
            self.written.send_modify(|written| written.up_to = up_to);
        }
    }
}

/// The segment that is being written.
struct Disk {
    folder: PathBuf,
    segment: Segment,
    file: File,
    bytes: u64,
}

impl Disk {
    /// Writes a group and makes it durable; `next` is the number of the record that will follow it.
    fn write(&mut self, frames: &[u8], next: i64) -> io::Result<()> {
        self.file.write_all(frames)?;
        self.file.sync_data()?;
        self.bytes += frames.len() as u64;
        if self.bytes >= SEGMENT_MAX_BYTES {
            let segment = Segment::new(
                &self.folder,
                &self.segment.service,
                &self.segment.start,
                next,
            );
            self.file = create(&segment)?;
            self.segment = segment;
            self.bytes = 0;
        }
        Ok(())
    }
}

/// Makes a new segment's file, and its name durable. It is locked while it is written, so that nobody takes it
/// for one of a start that has ended.
fn create(segment: &Segment) -> io::Result<File> {
    loop {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&segment.path)?;
        file.lock()?;
        // Whoever tidies up may have come between the two, and found an empty file of nobody.
        if file.metadata()?.nlink() == 0 {
            continue;
        }
        if let Some(folder) = segment.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        return Ok(file);
    }
}
