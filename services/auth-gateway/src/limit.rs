//! How often: one bucket for each sandbox, or each tenant, so that a noisy one takes nothing from another.

use std::hash::Hash;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use sandgate_policy::Rate;

/// Buckets beyond which those that are full again are dropped, by whoever looks after the limiter.
const SHRINK_AT: usize = 4_096;
/// Buckets at a time, about 8 MiB. Keys are of callers who proved who they are, so that as many in use at once are
/// more sandboxes than a gate serves; beyond it nobody gets a new bucket, and nobody goes without one.
const BUCKETS_MAX: NonZeroUsize = NonZeroUsize::new(65_536).expect("it is not zero");
/// Until then some bucket is full again.
const BUCKETS_WAIT: Duration = Duration::from_secs(1);

/// Buckets, one for each key.
#[derive(Debug)]
pub(crate) struct Limiter<K: Hash + Eq + Clone> {
    buckets: DefaultKeyedRateLimiter<K>,
    buckets_max: NonZeroUsize,
    clock: DefaultClock,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    /// Buckets of this rate.
    pub(crate) fn new(rate: Rate) -> Self {
        Self::bounded(rate, BUCKETS_MAX)
    }

    fn bounded(rate: Rate, buckets_max: NonZeroUsize) -> Self {
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        Self {
            buckets: RateLimiter::keyed(quota),
            buckets_max,
            clock: DefaultClock::default(),
        }
    }

    /// Buckets of so many requests a second, and a burst of twice as many.
    pub(crate) fn per_second(per_second: NonZeroU32) -> Self {
        Self::new(Rate {
            per_second,
            burst: per_second.saturating_mul(NonZeroU32::MIN.saturating_add(1)),
        })
    }

    /// Takes one request.
    ///
    /// # Errors
    /// How long until one is left.
    pub(crate) fn take(&self, key: &K) -> Result<(), Duration> {
        if self.buckets.len() >= self.buckets_max.get() {
            self.buckets.retain_recent();
            if self.buckets.len() >= self.buckets_max.get() {
                return Err(BUCKETS_WAIT);
            }
        }
        self.buckets
            .check_key(key)
            .map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }

    /// Drops the buckets of those that have not called for a while.
    pub(crate) fn shrink(&self) {
        if self.buckets.len() > SHRINK_AT {
            self.buckets.retain_recent();
            self.buckets.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;
    use sandgate_types::SandboxId;

    use super::*;

    const SLOW: Rate = Rate {
        per_second: NonZeroU32::MIN,
        burst: NonZeroU32::MIN,
    };

    #[test]
    fn one_sandbox_spends_nothing_of_anothers() {
        let limiter = Limiter::new(SLOW);
        let mut rng = StdRng::seed_from_u64(1);
        let (noisy, quiet) = (SandboxId::random(&mut rng), SandboxId::random(&mut rng));
        assert_eq!(limiter.take(&noisy), Ok(()));
        let wait = limiter.take(&noisy).expect_err("its burst is one");
        assert!(!wait.is_zero() && wait <= Duration::from_secs(1));
        assert_eq!(limiter.take(&quiet), Ok(()));
    }

    #[test]
    fn it_remembers_no_more_keys_than_its_bound_and_lets_nobody_go_uncounted() {
        let max = NonZeroUsize::new(8).expect("eight is not zero");
        let limiter = Limiter::bounded(SLOW, max);
        for key in 0..1_000 {
            let taken = limiter.take(&key);
            assert_eq!(taken.is_ok(), key < 8, "{key}");
            assert!(limiter.buckets.len() <= 8);
        }
    }
}
