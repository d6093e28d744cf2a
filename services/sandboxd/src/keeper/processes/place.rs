//! The place of a process that is about to start: kept before the runner is asked, so that many who ask at the
//! same time do not all find the last one free.

use std::sync::Arc;

use sandgate_types::LinkId;

use super::Processes;
use crate::keeper::process::Process;
use crate::keeper::table::Crowded;

/// A place, given back when it is dropped and nothing was entered.
#[derive(Debug)]
pub(super) struct Place {
    processes: Arc<Processes>,
    taken: bool,
}

impl Place {
    /// Keeps one.
    pub(super) fn keep(processes: Arc<Processes>) -> Result<Self, Crowded> {
        processes.table.lock().admit()?;
        Ok(Self {
            processes,
            taken: false,
        })
    }

    /// Enters the process that was started.
    pub(super) fn enter(mut self, process: Arc<Process>) -> LinkId {
        self.taken = true;
        let Processes { table, rng, .. } = &*self.processes;
        table.lock().enter(process, &mut *rng.lock())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.taken {
            self.processes.table.lock().give_back();
        }
    }
}
