//! What gates know of instances: all there are, then each change.
//!
//! The feed lives in memory; a gate that loses it starts from the whole. It is changed before whoever waits
//! for the change goes on, so a gate that has not heard yet refuses rather than guesses.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use sandgate_types::{InstanceId, SandboxId};
use tokio::sync::broadcast;

use crate::sandbox::Sandbox;

/// Changes that a gate may be behind before it starts from the whole again.
const BACKLOG: usize = 1_024;

/// An instance, as gates need to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Nobody's yet.
    Spare,
    /// It serves this sandbox.
    Live(Arc<Sandbox>),
    /// It served this sandbox, and is being taken away.
    Ending(Arc<Sandbox>),
}

/// A change of one instance; `None` when it is gone.
pub(crate) type Change = (InstanceId, Option<Endpoint>);

/// The feed.
pub(crate) struct Feed {
    endpoints: Mutex<HashMap<InstanceId, Endpoint>>,
    changes: broadcast::Sender<Change>,
}

impl Feed {
    pub(crate) fn new() -> Self {
        Self {
            endpoints: Mutex::new(HashMap::new()),
            changes: broadcast::Sender::new(BACKLOG),
        }
    }

    /// All there are, and the changes from then on.
    pub(crate) fn subscribe(&self) -> (Vec<Change>, broadcast::Receiver<Change>) {
        let endpoints = self.endpoints.lock();
        let all = endpoints
            .iter()
            .map(|(instance, endpoint)| (instance.clone(), Some(endpoint.clone())))
            .collect();
        (all, self.changes.subscribe())
    }

    /// An instance is ready for whoever claims it. One that is claimed by now stays so.
    pub(crate) fn spare(&self, instance: InstanceId) {
        let mut endpoints = self.endpoints.lock();
        if !endpoints.contains_key(&instance) {
            endpoints.insert(instance.clone(), Endpoint::Spare);
            self.tell((instance, Some(Endpoint::Spare)));
        }
    }

    /// The instance of the sandbox's run serves it.
    pub(crate) fn live(&self, sandbox: &Arc<Sandbox>) {
        self.set(sandbox, Endpoint::Live(Arc::clone(sandbox)));
    }

    /// The instance of the sandbox's run takes no new calls.
    pub(crate) fn ending(&self, sandbox: &Arc<Sandbox>) {
        self.set(sandbox, Endpoint::Ending(Arc::clone(sandbox)));
    }

    fn set(&self, sandbox: &Arc<Sandbox>, endpoint: Endpoint) {
        let Some(run) = &sandbox.state.run else {
            return;
        };
        let mut endpoints = self.endpoints.lock();
        endpoints.insert(run.instance.clone(), endpoint.clone());
        self.tell((run.instance.clone(), Some(endpoint)));
    }

    /// An instance is gone.
    pub(crate) fn remove(&self, instance: &InstanceId) {
        let mut endpoints = self.endpoints.lock();
        if endpoints.remove(instance).is_some() {
            self.tell((instance.clone(), None));
        }
    }

    /// Which sandbox an instance serves, or served last.
    pub(crate) fn sandbox_of(&self, instance: &InstanceId) -> Option<SandboxId> {
        match self.endpoints.lock().get(instance)? {
            Endpoint::Spare => None,
            Endpoint::Live(sandbox) | Endpoint::Ending(sandbox) => Some(sandbox.facts.id.clone()),
        }
    }

    /// Spares that are known.
    pub(crate) fn spares(&self) -> Vec<InstanceId> {
        let endpoints = self.endpoints.lock();
        let spares = endpoints
            .iter()
            .filter(|(_, endpoint)| matches!(endpoint, Endpoint::Spare));
        spares.map(|(instance, _)| instance.clone()).collect()
    }

    /// Told under the lock, so that no gate hears of changes in another order.
    fn tell(&self, change: Change) {
        // Without a gate there is nobody to tell.
        let _listeners = self.changes.send(change);
    }
}
