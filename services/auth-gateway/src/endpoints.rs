//! Where instances are and what they serve, as the orchestrator's feed says.
//!
//! The whole comes first and takes the place of what was known; then changes. A feed that is silent for longer
//! than its bound is stale, and then nothing that depends on it is served.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::RwLock;
use sandgate_session::lease::{LEASE, Moment};
use sandgate_types::{ConversationId, Generation, InstanceId, SandboxId, TenantId, UserId};
use tokio::sync::watch;

/// How long the feed may be silent; it shows a sign of life every second.
const SILENCE_MAX: Duration = LEASE;

/// What an instance serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Serving {
    /// Its generation.
    pub(crate) generation: Generation,
    /// The sandbox.
    pub(crate) sandbox: SandboxId,
    /// The tenant.
    pub(crate) tenant: TenantId,
    /// The user.
    pub(crate) user: UserId,
    /// The conversation.
    pub(crate) conversation: ConversationId,
}

/// An instance, as the feed describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Nobody's yet.
    Spare,
    /// It serves a conversation.
    Live(Serving),
    /// It is ending.
    Ending(Serving),
}

/// What the feed says.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// The whole begins.
    Begin,
    /// An instance appeared or changed.
    Endpoint(InstanceId, Endpoint),
    /// An instance is gone.
    Removed(InstanceId),
    /// The whole is complete.
    Synced,
    /// Nothing new.
    Heartbeat,
}

/// All instances.
#[derive(Debug)]
pub(crate) struct Endpoints {
    table: RwLock<Table>,
    /// Rung at each change, for whoever waits for one.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Table {
    instances: HashMap<InstanceId, Endpoint>,
    sandboxes: HashMap<SandboxId, InstanceId>,
    /// The whole, while it comes in.
    incoming: Option<HashMap<InstanceId, Endpoint>>,
    /// When the feed last spoke, once the whole was in.
    heard: Option<Moment>,
}

impl Default for Endpoints {
    fn default() -> Self {
        Self {
            table: RwLock::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl Endpoints {
    /// Takes an event in; answers whether what is known has changed.
    pub(crate) fn apply(&self, event: Event, now: Moment) -> bool {
        let mut table = self.table.write();
        let changed = table.apply(event, now);
        drop(table);
        if changed {
            self.changed
                .send_modify(|number| *number = number.wrapping_add(1));
        }
        changed
    }

    /// Whether the feed is fresh.
    pub(crate) fn is_fresh(&self, now: Moment) -> bool {
        self.stale_at().is_some_and(|stale| now < stale)
    }

    /// When it becomes stale unless it speaks again; `None` when it is from the start.
    pub(crate) fn stale_at(&self) -> Option<Moment> {
        self.table.read().heard.map(|heard| heard.plus(SILENCE_MAX))
    }

    /// An instance.
    pub(crate) fn get(&self, instance: &InstanceId) -> Option<Endpoint> {
        self.table.read().instances.get(instance).cloned()
    }

    /// The instance that serves a sandbox, live or ending.
    pub(crate) fn of_sandbox(&self, sandbox: &SandboxId) -> Option<(InstanceId, Endpoint)> {
        let table = self.table.read();
        let instance = table.sandboxes.get(sandbox)?;
        let endpoint = table.instances.get(instance)?;
        Some((instance.clone(), endpoint.clone()))
    }

    /// Rings at each change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

impl Table {
    fn apply(&mut self, event: Event, now: Moment) -> bool {
        match event {
            Event::Begin => {
                self.incoming = Some(HashMap::new());
                return false;
            }
            Event::Endpoint(instance, endpoint) => {
                if let Some(incoming) = &mut self.incoming {
                    incoming.insert(instance, endpoint);
                    return false;
                }
                self.heard = self.heard.map(|_| now);
                self.insert(instance, endpoint);
            }
            Event::Removed(instance) => {
                if let Some(incoming) = &mut self.incoming {
                    incoming.remove(&instance);
                    return false;
                }
                self.heard = self.heard.map(|_| now);
                self.remove(&instance);
            }
            Event::Synced => {
                let Some(whole) = self.incoming.take() else {
                    return false;
                };
                self.instances.clear();
                self.sandboxes.clear();
                for (instance, endpoint) in whole {
                    self.insert(instance, endpoint);
                }
                self.heard = Some(now);
            }
            Event::Heartbeat => {
                if self.incoming.is_none() {
                    self.heard = self.heard.map(|_| now);
                }
                return false;
            }
        }
        true
    }

    fn insert(&mut self, instance: InstanceId, endpoint: Endpoint) {
        self.remove(&instance);
        if let Endpoint::Live(serving) | Endpoint::Ending(serving) = &endpoint {
            // Of two instances of a sandbox, the one with the higher generation is its current one.
            let current = self.sandboxes.get(&serving.sandbox);
            let current = current.and_then(|current| self.instances.get(current));
            let is_newer = current
                .and_then(Endpoint::serving)
                .is_none_or(|current| current.generation <= serving.generation);
            if is_newer {
                self.sandboxes
                    .insert(serving.sandbox.clone(), instance.clone());
            }
        }
        self.instances.insert(instance, endpoint);
    }

    fn remove(&mut self, instance: &InstanceId) {
        let removed = self.instances.remove(instance);
        if let Some(serving) = removed.as_ref().and_then(Endpoint::serving)
            && self.sandboxes.get(&serving.sandbox) == Some(instance)
        {
            self.sandboxes.remove(&serving.sandbox);
        }
    }
}

impl Endpoint {
    /// What it serves; a spare serves nothing.
    pub(crate) fn serving(&self) -> Option<&Serving> {
        match self {
            Self::Live(serving) | Self::Ending(serving) => Some(serving),
            Self::Spare => None,
        }
    }

    /// What it serves, when it takes new calls.
    pub(crate) fn live(&self) -> Option<&Serving> {
        match self {
            Self::Live(serving) => Some(serving),
            Self::Spare | Self::Ending(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::since_boot(Duration::from_millis(millis))
    }

    fn serving(sandbox: &SandboxId, generation: i64) -> Serving {
        Serving {
            generation: Generation::parse("generation", generation).expect("valid"),
            sandbox: sandbox.clone(),
            tenant: TenantId::parse("tenant", "acme").expect("valid"),
            user: UserId::parse("user", "ann").expect("valid"),
            conversation: ConversationId::parse("conversation", "c").expect("valid"),
        }
    }

    #[test]
    fn nothing_is_known_before_the_whole_is_in_and_the_old_stays_until_then() {
        let mut rng = StdRng::seed_from_u64(1);
        let (old, new) = (InstanceId::random(&mut rng), InstanceId::random(&mut rng));
        let endpoints = Endpoints::default();
        endpoints.apply(Event::Begin, at(0));
        endpoints.apply(Event::Endpoint(old.clone(), Endpoint::Spare), at(0));
        assert!(!endpoints.is_fresh(at(0)) && endpoints.get(&old).is_none());
        assert!(endpoints.apply(Event::Synced, at(0)));
        assert!(endpoints.is_fresh(at(0)) && endpoints.get(&old).is_some());
        endpoints.apply(Event::Begin, at(1));
        endpoints.apply(Event::Endpoint(new.clone(), Endpoint::Spare), at(1));
        assert!(endpoints.get(&old).is_some() && endpoints.get(&new).is_none());
        endpoints.apply(Event::Synced, at(1));
        assert!(endpoints.get(&old).is_none() && endpoints.get(&new).is_some());
    }

    #[test]
    fn silence_makes_it_stale_and_an_unfinished_whole_does_not_count_as_speech() {
        let endpoints = Endpoints::default();
        endpoints.apply(Event::Heartbeat, at(0));
        assert!(!endpoints.is_fresh(at(0)));
        endpoints.apply(Event::Begin, at(0));
        endpoints.apply(Event::Synced, at(0));
        endpoints.apply(Event::Heartbeat, at(2_000));
        assert!(endpoints.is_fresh(at(4_999)) && !endpoints.is_fresh(at(5_000)));
        endpoints.apply(Event::Begin, at(4_000));
        endpoints.apply(Event::Heartbeat, at(4_000));
        assert!(!endpoints.is_fresh(at(5_000)));
    }

    #[test]
    fn a_sandbox_is_where_its_newest_generation_is() {
        let mut rng = StdRng::seed_from_u64(1);
        let (first, second) = (InstanceId::random(&mut rng), InstanceId::random(&mut rng));
        let sandbox = SandboxId::random(&mut rng);
        let endpoints = Endpoints::default();
        for event in [
            Event::Begin,
            Event::Endpoint(second.clone(), Endpoint::Live(serving(&sandbox, 2))),
            Event::Endpoint(first.clone(), Endpoint::Ending(serving(&sandbox, 1))),
            Event::Synced,
        ] {
            endpoints.apply(event, at(0));
        }
        assert_eq!(
            endpoints.of_sandbox(&sandbox).expect("it is there").0,
            second
        );
        endpoints.apply(Event::Removed(first), at(0));
        assert_eq!(
            endpoints.of_sandbox(&sandbox).expect("it is there").0,
            second
        );
        endpoints.apply(Event::Removed(second), at(0));
        assert_eq!(endpoints.of_sandbox(&sandbox), None);
    }
}
