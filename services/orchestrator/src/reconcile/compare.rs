//! What a difference between rows and instances means. Pure, so that each case is a line of a test.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sandgate_types::{Generation, InstanceId, SandboxId};

use crate::lifecycle::Event;
use crate::sandbox::{Intent, Phase, Sandbox};

/// An instance as the backend lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// The instance.
    pub(crate) instance: InstanceId,
    /// Whom it was claimed for; `None` for a spare.
    pub(crate) claim: Option<(SandboxId, Option<Generation>)>,
}

/// A live row, and who is at it.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) sandbox: Arc<Sandbox>,
    /// A task of this process.
    pub(crate) driven: bool,
    /// Another orchestrator, whose lease is not over.
    pub(crate) elsewhere: bool,
}

impl Known {
    /// Whether it is left to who is at it.
    fn is_left(&self) -> bool {
        self.driven || self.elsewhere
    }
}

/// When the comparison is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct When {
    /// Before this process has begun anything.
    pub(crate) at_start: bool,
    /// Whether instances outlive the backend's process.
    pub(crate) instances_survive: bool,
}

/// What to do about a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// The instance is nobody's any more; this sandbox's it was.
    Destroy(InstanceId, SandboxId),
    /// The sandbox has its instance; gates learn of it.
    Adopt(SandboxId),
    /// The rules decide what this makes of the sandbox.
    Tell(SandboxId, Event),
    /// Go on with what was begun.
    Drive(SandboxId),
}

/// Decides what to do: `instances` were there before the rows were read, and `there` after.
pub(crate) fn plan(
    rows: &[Known],
    instances: &[Listed],
    there: &HashSet<InstanceId>,
    when: When,
) -> Vec<Action> {
    let mut actions = Vec::new();
    let known: HashMap<&SandboxId, &Known> = rows
        .iter()
        .map(|known| (&known.sandbox.facts.id, known))
        .collect();
    for listed in instances {
        let Some((sandbox, generation)) = &listed.claim else {
            continue;
        };
        let wanted = match known.get(sandbox) {
            None => false,
            Some(known) if known.is_left() => true,
            Some(known) => is_wanted(&known.sandbox, &listed.instance, *generation),
        };
        if !wanted {
            actions.push(Action::Destroy(listed.instance.clone(), sandbox.clone()));
        }
    }
    for known in rows.iter().filter(|known| !known.is_left()) {
        let id = known.sandbox.facts.id.clone();
        let state = &known.sandbox.state;
        match (state.intent, &state.run) {
            (Some(Intent::Start), _) => actions.push(Action::Tell(id, Event::StartAgain)),
            (Some(Intent::End), _) => actions.push(Action::Drive(id)),
            (None, Some(run)) if there.contains(&run.instance) => {
                if when.at_start {
                    actions.push(Action::Adopt(id));
                }
            }
            (None, Some(_)) if when.at_start && !when.instances_survive => {
                actions.push(Action::Tell(id, Event::BackendRestarted));
            }
            (None, Some(_)) => actions.push(Action::Tell(id, Event::InstanceLost)),
            (None, None) => {}
        }
    }
    actions
}

/// Whether a sandbox that nobody is at keeps this instance. One of an unfinished start is not kept: nobody
/// knows how far it came. One that is ending is left to whoever drives its end.
fn is_wanted(sandbox: &Sandbox, instance: &InstanceId, generation: Option<Generation>) -> bool {
    let state = &sandbox.state;
    match state.intent {
        Some(Intent::Start) => false,
        Some(Intent::End) => true,
        None => {
            state.phase == Phase::Ready
                && generation.is_none_or(|generation| generation == state.generation)
                && state
                    .run
                    .as_ref()
                    .is_some_and(|run| run.instance == *instance)
        }
    }
}

#[cfg(test)]
mod tests;
