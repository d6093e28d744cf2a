//! How often: one bucket for each sandbox, so that a noisy one takes nothing from another.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use sandgate_types::SandboxId;

use crate::policy::Rate;

/// Buckets beyond which those that are full again are dropped.
const SHRINK_AT: usize = 4_096;

/// Buckets, one for each sandbox.
#[derive(Debug)]
pub(crate) struct Limiter {
    buckets: DefaultKeyedRateLimiter<SandboxId>,
    clock: DefaultClock,
}

impl Limiter {
    /// Buckets of this rate.
    pub(crate) fn new(rate: Rate) -> Self {
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        Self {
            buckets: RateLimiter::keyed(quota),
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
    pub(crate) fn take(&self, sandbox: &SandboxId) -> Result<(), Duration> {
        self.buckets
            .check_key(sandbox)
            .map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }

    /// Drops the buckets of sandboxes that have not called for a while.
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

    use super::*;

    #[test]
    fn one_sandbox_spends_nothing_of_anothers() {
        let rate = Rate {
            per_second: NonZeroU32::MIN,
            burst: NonZeroU32::MIN,
        };
        let limiter = Limiter::new(rate);
        let mut rng = StdRng::seed_from_u64(1);
        let (noisy, quiet) = (SandboxId::random(&mut rng), SandboxId::random(&mut rng));
        assert_eq!(limiter.take(&noisy), Ok(()));
        let wait = limiter.take(&noisy).expect_err("its burst is one");
        assert!(!wait.is_zero() && wait <= Duration::from_secs(1));
        assert_eq!(limiter.take(&quiet), Ok(()));
    }
}
