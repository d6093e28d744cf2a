//! Which instances there are, and whose. An instance only ever goes from spare to claimed to gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use sandgate_types::{Generation, InstanceId, SandboxId, TemplateName};

use super::INSTANCES_MAX;
use super::instance::Instance;
use crate::{BackendError, InstanceState};

/// Whose an instance is.
#[derive(Debug, Clone)]
pub(super) enum Role {
    /// Nobody's yet.
    Spare,
    /// A sandbox's, for ever.
    Claimed {
        /// Which.
        sandbox: SandboxId,
        /// Which run of it.
        generation: Generation,
    },
}

#[derive(Debug)]
struct Entry {
    template: TemplateName,
    role: Role,
    /// Absent while it starts.
    instance: Option<Arc<Instance>>,
    /// It is to be ended, or has ended by itself: nobody gets it any more.
    doomed: bool,
}

/// What there is of an instance.
#[derive(Debug)]
pub(super) enum Found {
    /// Not a trace.
    Nothing,
    /// It is being started.
    Starting,
    /// All of it.
    Ready(Arc<Instance>),
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<InstanceId, Entry>,
    closed: bool,
}

impl Registry {
    /// Enters an instance that is about to be started, so that it is counted and listed from here on.
    pub(super) fn enter(
        &self,
        id: &InstanceId,
        template: &TemplateName,
        role: Role,
    ) -> Result<(), BackendError> {
        let mut state = self.0.lock();
        if state.closed {
            return Err(BackendError::Unavailable);
        }
        if state.entries.len() >= INSTANCES_MAX {
            return Err(BackendError::Full(INSTANCES_MAX));
        }
        let entry = Entry {
            template: template.clone(),
            role,
            instance: None,
            doomed: false,
        };
        state.entries.insert(id.clone(), entry);
        Ok(())
    }

    /// Notes that an instance is ready; `false` when nobody wants it any more.
    pub(super) fn set_ready(&self, instance: Arc<Instance>) -> bool {
        let mut state = self.0.lock();
        let closed = state.closed;
        match state.entries.get_mut(&instance.id) {
            Some(entry) => {
                entry.instance = Some(instance);
                !closed && !entry.doomed
            }
            None => false,
        }
    }

    /// Keeps an instance from being claimed, and answers what there is to end.
    pub(super) fn doom(&self, id: &InstanceId) -> Found {
        match self.0.lock().entries.get_mut(id) {
            Some(entry) => {
                entry.doomed = true;
                entry.instance.clone().map_or(Found::Starting, Found::Ready)
            }
            None => Found::Nothing,
        }
    }

    /// Makes a spare that is ready this role's.
    pub(super) fn claim(&self, template: &TemplateName, role: &Role) -> Option<InstanceId> {
        let mut state = self.0.lock();
        if state.closed {
            return None;
        }
        let spare = state
            .entries
            .iter_mut()
            .find(|(_, entry)| entry.is_spare_of(template))?;
        spare.1.role = role.clone();
        Some(spare.0.clone())
    }

    pub(super) fn remove(&self, id: &InstanceId) -> bool {
        self.0.lock().entries.remove(id).is_some()
    }

    /// Those that are ready.
    pub(super) fn ready(&self) -> Vec<Arc<Instance>> {
        self.0
            .lock()
            .entries
            .values()
            .filter(|entry| !entry.doomed)
            .filter_map(|entry| entry.instance.clone())
            .collect()
    }

    /// Spares that are ready.
    pub(super) fn spares(&self, template: &TemplateName) -> usize {
        self.0
            .lock()
            .entries
            .values()
            .filter(|entry| entry.is_spare_of(template))
            .count()
    }

    pub(super) fn list(&self) -> Vec<InstanceState> {
        let state = self.0.lock();
        let states = state.entries.iter().map(|(id, entry)| {
            let (sandbox, generation) = match &entry.role {
                Role::Spare => (None, None),
                Role::Claimed {
                    sandbox,
                    generation,
                } => (Some(sandbox.clone()), Some(*generation)),
            };
            InstanceState {
                instance: id.clone(),
                sandbox,
                generation,
            }
        });
        states.collect()
    }

    /// Takes no more instances, and answers those that there are still.
    pub(super) fn close(&self) -> Vec<InstanceId> {
        let mut state = self.0.lock();
        state.closed = true;
        state.entries.keys().cloned().collect()
    }
}

impl Entry {
    fn is_spare_of(&self, template: &TemplateName) -> bool {
        matches!(self.role, Role::Spare)
            && self.template == *template
            && self.instance.is_some()
            && !self.doomed
    }
}
