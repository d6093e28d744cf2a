//! When a call is made again: only what is declared idempotent, only what may pass, and never so often that
//! retries make an outage worse.

use std::time::Duration;

use rand::Rng;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tower::retry::budget::{Budget as _, TpsBudget};

/// How often a call is made at most.
pub(crate) const ATTEMPTS_MAX: u32 = 4;
/// What may be retried whatever the traffic, so that a quiet client can retry at all.
const RETRIES_PER_SECOND: u32 = 10;
/// The share of calls that may be retries.
const RETRY_SHARE: f32 = 0.2;
/// For how long the budget remembers calls.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);
/// The first wait; it doubles.
const BACKOFF: Duration = Duration::from_millis(20);
/// The longest wait of ours; a server may ask for more.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// The share of retries of one channel.
#[derive(Debug)]
pub(crate) struct Budget(TpsBudget);

impl Budget {
    pub(crate) fn new() -> Self {
        Self(TpsBudget::new(
            BUDGET_WINDOW,
            RETRIES_PER_SECOND,
            RETRY_SHARE,
        ))
    }

    /// Notes a call that was made for the first time.
    pub(crate) fn deposit(&self) {
        self.0.deposit();
    }

    /// Whether one more retry is within the share.
    pub(crate) fn withdraw(&self) -> bool {
        self.0.withdraw()
    }
}

/// How long to wait before the call is made again; `None` when it is not.
pub(crate) fn wait(status: &Status, attempt: u32, rng: &mut impl Rng) -> Option<Duration> {
    if attempt >= ATTEMPTS_MAX || !passes(status.code()) {
        return None;
    }
    let asked = status
        .get_details_retry_info()
        .and_then(|info| info.retry_delay);
    let backoff = BACKOFF.saturating_mul(1 << attempt.min(8)).min(BACKOFF_MAX);
    Some(asked.unwrap_or_else(|| backoff.mul_f64(rng.random_range(0.5..1.5))))
}

/// Whether the same call may succeed a moment later.
fn passes(code: Code) -> bool {
    match code {
        Code::Unavailable => true,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;
    use crate::{Fault, Reason};

    #[test]
    fn only_passing_trouble_is_retried_and_not_for_ever() {
        let mut rng = StdRng::seed_from_u64(1);
        assert!(wait(&Status::unavailable("x"), 1, &mut rng).is_some());
        assert!(wait(&Status::internal("x"), 1, &mut rng).is_none());
        assert!(wait(&Status::unavailable("x"), ATTEMPTS_MAX, &mut rng).is_none());
    }

    #[test]
    fn the_server_knows_best_how_long_to_wait() {
        let fault = Fault::unavailable(Reason::new("token", "BUSY"), "the database is busy");
        let status = Status::from(fault.retry_after(Duration::from_secs(3)));
        let mut rng = StdRng::seed_from_u64(1);
        assert_eq!(wait(&status, 1, &mut rng), Some(Duration::from_secs(3)));
    }

    #[test]
    fn retries_stay_within_their_share() {
        let budget = Budget::new();
        let allowed = (0..10_000).filter(|_| budget.withdraw()).count();
        assert!(allowed <= 100, "{allowed} without a single first call");
    }
}
