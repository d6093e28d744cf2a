//! Reads along with a process: its output from an offset, then its end.

use std::sync::Arc;

use super::{End, Process, Stage};
use crate::keeper::ring::{Piece, ReaderKey};

/// Somebody who reads along. While it exists the process waits for it rather than lose output.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(super) process: Arc<Process>,
    pub(super) key: ReaderKey,
    /// Where it has read to.
    pub(super) position: u64,
}

/// What a reader sees.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// It wrote.
    Output(Piece),
    /// It ended, and all that it wrote was seen.
    Ended(End),
    /// It ended so long ago that the rest of its output was given up.
    Forgotten,
}

impl Reader {
    /// The next thing that the process did; waits for it.
    pub(crate) async fn next(&mut self) -> Event {
        let process = &self.process;
        let mut written = process.written.subscribe();
        let mut stage = process.stage.subscribe();
        loop {
            written.mark_unchanged();
            // The stage is looked at before the ring: what was written before it is in the ring by now.
            let now = *stage.borrow_and_update();
            let piece = process.outputs.rings.lock().read(process.ring, self.key);
            if let Some(piece) = piece {
                process.outputs.ring_bell();
                self.position = piece.offset + piece.data.len() as u64;
                return Event::Output(piece);
            }
            let complete = match now {
                Stage::Running | Stage::Ended => None,
                Stage::Drained => Some(true),
                Stage::Forgotten => Some(*process.total.lock() == Some(self.position)),
            };
            match (complete, process.end()) {
                (Some(true), Some(end)) => return Event::Ended(end),
                (Some(_), _) => return Event::Forgotten,
                (None, _) => {}
            }
            // Both senders are in the process, so this waits.
            tokio::select! {
                _ = written.changed() => {}
                _ = stage.changed() => {}
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.process
            .outputs
            .rings
            .lock()
            .detach(self.process.ring, self.key);
        self.process.outputs.ring_bell();
    }
}
