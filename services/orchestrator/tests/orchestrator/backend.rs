//! A backend that keeps instances in a list, and does what a test tells it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_backend::{
    Backend, BackendError, Bound, Capabilities, ClaimRequest, Claimed, InstanceEvent,
    InstanceState, PoolState,
};
use sandgate_types::{Generation, InstanceId, SandboxId};
use tokio::sync::{broadcast, watch};

#[derive(Debug)]
pub(crate) struct FakeBackend {
    pub(crate) instances: Mutex<BTreeMap<InstanceId, Option<(SandboxId, Generation)>>>,
    /// No claim succeeds.
    pub(crate) empty: AtomicBool,
    /// Instances outlive the process.
    pub(crate) survives: AtomicBool,
    pub(crate) claims: AtomicUsize,
    /// Releases that fail before one succeeds.
    pub(crate) stuck: AtomicUsize,
    /// Lists that were made; whether they are answered.
    lists: watch::Sender<(usize, bool)>,
    events: broadcast::Sender<InstanceEvent>,
}

impl FakeBackend {
    pub(crate) fn new() -> Self {
        Self {
            instances: Mutex::new(BTreeMap::new()),
            empty: AtomicBool::new(false),
            survives: AtomicBool::new(false),
            claims: AtomicUsize::new(0),
            stuck: AtomicUsize::new(0),
            lists: watch::Sender::new((0, true)),
            events: broadcast::Sender::new(64),
        }
    }

    pub(crate) fn spare(&self) -> InstanceId {
        let instance = InstanceId::random(&mut StdRng::from_os_rng());
        self.instances.lock().insert(instance.clone(), None);
        // Before the orchestrator listens there is nobody to tell.
        let _told = self.events.send(InstanceEvent::Spare {
            instance: instance.clone(),
        });
        instance
    }

    /// An instance that was claimed for a sandbox and that its row knows nothing of.
    pub(crate) fn stranger(&self, sandbox: &str) -> InstanceId {
        let instance = InstanceId::random(&mut StdRng::from_os_rng());
        let sandbox = SandboxId::parse("sandbox_id", sandbox).expect("an id");
        let claim = Some((sandbox, Generation::FIRST));
        self.instances.lock().insert(instance.clone(), claim);
        instance
    }

    /// Keeps lists, as they are from now on, from those who asked, or lets them go.
    pub(crate) fn answers_lists(&self, answers: bool) {
        self.lists.send_modify(|lists| lists.1 = answers);
    }

    /// Waits until so many more lists were made.
    pub(crate) async fn listed(&self, times: usize) {
        let mut lists = self.lists.subscribe();
        let before = lists.borrow().0;
        lists
            .wait_for(|lists| lists.0 >= before + times)
            .await
            .expect("the backend lives");
    }

    /// Waits until an instance is gone; the caller's wait is bounded by the test's own.
    pub(crate) async fn gone(&self, instance: &InstanceId) {
        let gone = async {
            while self.instances.lock().contains_key(instance) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone)
            .await
            .expect("gone in time");
    }

    /// The instance ends by itself.
    pub(crate) fn lose(&self, instance: &InstanceId) {
        self.instances.lock().remove(instance);
        self.events
            .send(InstanceEvent::Ended {
                instance: instance.clone(),
            })
            .expect("somebody listens");
    }

    pub(crate) fn claimed(&self) -> Vec<InstanceId> {
        let instances = self.instances.lock();
        instances
            .iter()
            .filter(|(_, claim)| claim.is_some())
            .map(|(id, _)| id.clone())
            .collect()
    }
}

#[async_trait::async_trait]
impl Backend for FakeBackend {
    async fn claim(&self, request: ClaimRequest) -> Result<Claimed, BackendError> {
        self.claims.fetch_add(1, Ordering::SeqCst);
        if self.empty.load(Ordering::SeqCst) {
            return Err(BackendError::Unavailable);
        }
        let mut instances = self.instances.lock();
        let spare = instances
            .iter()
            .find(|(_, claim)| claim.is_none())
            .map(|(id, _)| id.clone());
        let cold = spare.is_none();
        let instance = spare.unwrap_or_else(|| InstanceId::random(&mut StdRng::from_os_rng()));
        instances.insert(
            instance.clone(),
            Some((request.sandbox, request.generation)),
        );
        let bounds = vec![Bound {
            resource: "processes",
            limit: 256,
            mechanism: "rlimit-nproc",
        }];
        Ok(Claimed {
            instance,
            cold,
            bounds,
        })
    }

    async fn release(&self, instance: &InstanceId) -> Result<(), BackendError> {
        let stuck = self.stuck.load(Ordering::SeqCst);
        if stuck > 0 {
            self.stuck.store(stuck - 1, Ordering::SeqCst);
            return Err(BackendError::Stuck);
        }
        if self.instances.lock().remove(instance).is_some() {
            let _told = self.events.send(InstanceEvent::Ended {
                instance: instance.clone(),
            });
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<InstanceState>, BackendError> {
        let states: Vec<InstanceState> = {
            let instances = self.instances.lock();
            let states = instances.iter().map(|(instance, claim)| InstanceState {
                instance: instance.clone(),
                sandbox: claim.as_ref().map(|(sandbox, _)| sandbox.clone()),
                generation: claim.as_ref().map(|(_, generation)| *generation),
            });
            states.collect()
        };
        self.lists.send_modify(|lists| lists.0 += 1);
        let mut lists = self.lists.subscribe();
        let answered = lists.wait_for(|lists| lists.1).await;
        answered.expect("the backend lives");
        Ok(states)
    }

    async fn pools(&self) -> Vec<PoolState> {
        Vec::new()
    }

    fn watch(&self) -> broadcast::Receiver<InstanceEvent> {
        self.events.subscribe()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            survives_restart: self.survives.load(Ordering::SeqCst),
        }
    }

    async fn stop(&self) {
        self.instances.lock().clear();
    }
}
