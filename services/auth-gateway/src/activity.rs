//! Which sandboxes were used, for the orchestrator's idle timeout: calls to one, calls from one, a call that
//! lasts. Health and sync do not count.

use std::collections::HashMap;

use parking_lot::Mutex;
use sandgate_types::{InstanceId, SandboxId, Timestamp};

/// A batch of the contract.
pub(crate) const BATCH_MAX: usize = 1_000;

/// What was used since the last report.
#[derive(Debug, Default)]
pub(crate) struct Activity(Mutex<HashMap<InstanceId, (SandboxId, Timestamp)>>);

/// That a sandbox was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Used {
    /// The instance.
    pub(crate) instance: InstanceId,
    /// The sandbox.
    pub(crate) sandbox: SandboxId,
    /// When, at the latest.
    pub(crate) at: Timestamp,
}

impl Activity {
    /// Notes a use. The number of entries is bounded by that of instances.
    pub(crate) fn note(&self, instance: &InstanceId, sandbox: &SandboxId, at: Timestamp) {
        let mut used = self.0.lock();
        match used.get_mut(instance) {
            Some(entry) => entry.1 = entry.1.max(at),
            None => drop(used.insert(instance.clone(), (sandbox.clone(), at))),
        }
    }

    /// Takes a batch out.
    pub(crate) fn take(&self) -> Vec<Used> {
        let mut used = self.0.lock();
        let batch: Vec<InstanceId> = used.keys().take(BATCH_MAX).cloned().collect();
        let taken = batch.into_iter().filter_map(|instance| {
            let (sandbox, at) = used.remove(&instance)?;
            Some(Used {
                instance,
                sandbox,
                at,
            })
        });
        taken.collect()
    }

    /// Puts a batch back that could not be reported; what was noted since stays.
    pub(crate) fn put_back(&self, batch: Vec<Used>) {
        for used in batch {
            self.note(&used.instance, &used.sandbox, used.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn the_latest_use_is_reported_once_and_again_when_the_report_was_lost() {
        let mut rng = StdRng::seed_from_u64(1);
        let (instance, sandbox) = (InstanceId::random(&mut rng), SandboxId::random(&mut rng));
        let at = Timestamp::from_seconds;
        let activity = Activity::default();
        activity.note(&instance, &sandbox, at(2));
        activity.note(&instance, &sandbox, at(1));
        let batch = activity.take();
        assert_eq!(batch.len(), 1);
        assert_eq!(batch[0].at, at(2));
        assert!(activity.take().is_empty());
        activity.note(&instance, &sandbox, at(3));
        activity.put_back(batch);
        assert_eq!(activity.take()[0].at, at(3));
    }
}
