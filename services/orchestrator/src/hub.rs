//! What is known of sandboxes in memory: how far each is, who waits for it, and when it was used last.
//!
//! Writes to one row queue here, so that they do not fail each other's compare-and-swap; what keeps the row
//! right is the compare-and-swap all the same.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

use parking_lot::Mutex;
use sandgate_types::{Generation, SandboxId, Timestamp};
use tokio::sync::{Semaphore, broadcast, watch};

use crate::sandbox::Sandbox;

/// Changes that somebody who watches may be behind; then they go on with the latest.
const BACKLOG: usize = 16;

/// No task carries the intent out.
const IDLE: u8 = 0;
/// One does.
const DRIVEN: u8 = 1;
/// One does, and was asked to look again since it began.
const DRIVEN_AND_ASKED: u8 = 2;

/// One sandbox in memory.
pub(crate) struct Cell {
    /// Held by whoever changes the sandbox.
    pub(crate) turn: Semaphore,
    view: watch::Sender<Option<Arc<Sandbox>>>,
    changes: broadcast::Sender<Arc<Sandbox>>,
    /// Whether a task carries its intent out: [`IDLE`], [`DRIVEN`] or [`DRIVEN_AND_ASKED`].
    driven: AtomicU8,
    /// The highest generation for which this process has begun to claim.
    claimed: AtomicI64,
    /// Until when its intent is this process's to carry out, as far as is known.
    leased: AtomicI64,
    last_active: AtomicI64,
}

impl Cell {
    fn new() -> Self {
        Self {
            turn: Semaphore::new(1),
            view: watch::Sender::new(None),
            changes: broadcast::Sender::new(BACKLOG),
            driven: AtomicU8::new(IDLE),
            claimed: AtomicI64::new(0),
            leased: AtomicI64::new(i64::MIN),
            last_active: AtomicI64::new(i64::MIN),
        }
    }

    /// The sandbox as it is known.
    pub(crate) fn view(&self) -> Option<Arc<Sandbox>> {
        self.view.borrow().clone()
    }

    /// Tells everybody what the sandbox has become.
    pub(crate) fn show(&self, sandbox: &Arc<Sandbox>) {
        self.view.send_replace(Some(Arc::clone(sandbox)));
        // Without anybody who watches there is nobody to tell.
        let _watchers = self.changes.send(Arc::clone(sandbox));
    }

    /// Forgets what is known, since somebody else wrote the row.
    pub(crate) fn forget(&self) {
        self.leased.store(i64::MIN, Ordering::Release);
        self.view.send_replace(None);
    }

    /// What is known, whenever it changes.
    pub(crate) fn follow(&self) -> watch::Receiver<Option<Arc<Sandbox>>> {
        self.view.subscribe()
    }

    /// Each change, one by one.
    pub(crate) fn changes(&self) -> broadcast::Receiver<Arc<Sandbox>> {
        self.changes.subscribe()
    }

    /// Becomes the one that carries the intent out; false when somebody does, who then looks again.
    pub(crate) fn begin_driving(&self) -> bool {
        let asked = |driven| match driven {
            IDLE => DRIVEN,
            _ => DRIVEN_AND_ASKED,
        };
        let before = self
            .driven
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |driven| {
                Some(asked(driven))
            });
        before == Ok(IDLE)
    }

    /// Stops being the one; true when somebody asked meanwhile.
    pub(crate) fn stop_driving(&self) -> bool {
        self.driven.swap(IDLE, Ordering::AcqRel) == DRIVEN_AND_ASKED
    }

    pub(crate) fn is_driven(&self) -> bool {
        self.driven.load(Ordering::Acquire) != IDLE
    }

    /// Notes that an instance is being claimed for `generation`; false when one was before. A generation is
    /// one run of one instance, so a start that is made again has to raise it first.
    pub(crate) fn claims_first(&self, generation: Generation) -> bool {
        self.claimed.fetch_max(generation.get(), Ordering::AcqRel) < generation.get()
    }

    /// Notes until when the intent is this process's.
    pub(crate) fn lease(&self, until: Timestamp) {
        self.leased.store(until.as_micros(), Ordering::Release);
    }

    /// Whether the intent is this process's at `now`, for certain.
    pub(crate) fn is_leased(&self, now: Timestamp) -> bool {
        self.leased.load(Ordering::Acquire) > now.as_micros()
    }

    /// Notes that the sandbox was used at `at`.
    pub(crate) fn touch(&self, at: Timestamp) {
        self.last_active.fetch_max(at.as_micros(), Ordering::AcqRel);
    }

    /// When it was used last, as far as this process knows.
    pub(crate) fn last_active(&self) -> Timestamp {
        Timestamp::from_micros(self.last_active.load(Ordering::Acquire))
    }
}

/// All of them.
pub(crate) struct Hub {
    cells: Mutex<HashMap<SandboxId, Arc<Cell>>>,
}

impl Hub {
    pub(crate) fn new() -> Self {
        Self {
            cells: Mutex::new(HashMap::new()),
        }
    }

    /// The cell of a sandbox, made when there is none.
    pub(crate) fn cell(&self, id: &SandboxId) -> Arc<Cell> {
        let mut cells = self.cells.lock();
        if let Some(cell) = cells.get(id) {
            return Arc::clone(cell);
        }
        let cell = Arc::new(Cell::new());
        cells.insert(id.clone(), Arc::clone(&cell));
        cell
    }

    /// The cell of a sandbox, if it has one.
    pub(crate) fn known(&self, id: &SandboxId) -> Option<Arc<Cell>> {
        self.cells.lock().get(id).cloned()
    }

    /// All cells.
    pub(crate) fn all(&self) -> Vec<(SandboxId, Arc<Cell>)> {
        let cells = self.cells.lock();
        cells
            .iter()
            .map(|(id, cell)| (id.clone(), Arc::clone(cell)))
            .collect()
    }

    /// Forgets cells that nobody holds and whose sandbox needs no memory: it is not live, or unknown.
    pub(crate) fn prune(&self) {
        self.cells.lock().retain(|_, cell| {
            Arc::strong_count(cell) > 1
                || cell.is_driven()
                || cell.view().is_some_and(|sandbox| sandbox.state.is_live())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_while_a_task_drives_is_not_forgotten() {
        let cell = Cell::new();
        assert!(cell.begin_driving());
        assert!(!cell.begin_driving());
        assert!(cell.stop_driving(), "somebody asked");
        assert!(cell.begin_driving());
        assert!(!cell.stop_driving(), "nobody asked again");
    }

    #[test]
    fn a_generation_is_claimed_for_once() {
        let cell = Cell::new();
        assert!(cell.claims_first(Generation::FIRST));
        assert!(!cell.claims_first(Generation::FIRST));
        assert!(cell.claims_first(Generation::FIRST.next()));
    }
}
