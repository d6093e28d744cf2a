//! Who waits for which answer of the runner, and for the end of which process.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::RunnerError;
use crate::keeper::process::How;
use crate::protocol::Outcome;

/// What the runner answered, and the descriptors that came beside it.
pub(super) type Answered = (Outcome, Vec<OwnedFd>);

/// Who waits for what.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    last_id: u64,
    answers: BTreeMap<u64, oneshot::Sender<Answered>>,
    exits: BTreeMap<u64, oneshot::Sender<How>>,
    /// Requests whose asker left; what they began is given up.
    abandoned: Vec<u64>,
    gone: bool,
}

/// A request that is about to be sent.
#[derive(Debug)]
pub(super) struct Asked {
    /// Its number.
    pub(super) id: u64,
    /// Hears the answer.
    pub(super) answer: oneshot::Receiver<Answered>,
    /// What the runner must be told first that nobody wants.
    pub(super) abandoned: Vec<u64>,
}

impl Waiting {
    /// Numbers a request. With `exit` it starts a process, of which `starts` hears before anybody can answer.
    ///
    /// # Errors
    /// [`RunnerError::Gone`].
    pub(super) fn ask(
        &self,
        exit: Option<oneshot::Sender<How>>,
        starts: impl FnOnce(u64),
    ) -> Result<Asked, RunnerError> {
        let (answer, answered) = oneshot::channel();
        let mut inner = self.0.lock();
        if inner.gone {
            return Err(RunnerError::Gone);
        }
        inner.last_id += 1;
        let id = inner.last_id;
        inner.answers.insert(id, answer);
        if let Some(exit) = exit {
            starts(id);
            inner.exits.insert(id, exit);
        }
        Ok(Asked {
            id,
            answer: answered,
            abandoned: std::mem::take(&mut inner.abandoned),
        })
    }

    /// Nobody will answer a request; whether it would have started a process.
    pub(super) fn unsent(&self, id: u64) -> bool {
        let mut inner = self.0.lock();
        inner.answers.remove(&id);
        inner.exits.remove(&id).is_some()
    }

    /// Hands an answer to its asker. One that nobody asked for is dropped, with what came beside it.
    pub(super) fn answered(&self, id: u64, answered: Answered) {
        let mut inner = self.0.lock();
        let Some(asker) = inner.answers.remove(&id) else {
            return;
        };
        if asker.send(answered).is_err() {
            inner.abandoned.push(id);
        }
    }

    /// Tells of the end of a process.
    pub(super) fn ended(&self, process: u64, how: How) {
        let asker = self.0.lock().exits.remove(&process);
        // Who was never told of the process does not wait for its end.
        if let Some(asker) = asker {
            let _nobody = asker.send(how);
        }
    }

    /// A process of which nobody will hear the end: there is none.
    pub(super) fn never_began(&self, process: u64) {
        self.0.lock().exits.remove(&process);
    }

    /// Keeps for the next request that the runner must be told of these.
    pub(super) fn abandon(&self, ids: impl IntoIterator<Item = u64>) {
        self.0.lock().abandoned.extend(ids);
    }

    /// Nobody is answered any more.
    pub(super) fn gone(&self) {
        let mut inner = self.0.lock();
        inner.gone = true;
        inner.answers.clear();
        inner.exits.clear();
    }
}
