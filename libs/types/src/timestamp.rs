//! Instants, in microseconds since the Unix epoch: what both databases store and tokens carry.

use std::time::Duration;

/// An instant with microsecond resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Self = Self(0);

    /// The instant `micros` microseconds after the epoch.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The instant `seconds` seconds after the epoch, at the end of time when that is further than it reaches.
    pub fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds since the epoch.
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub fn as_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Nanoseconds within the second of [`Self::as_seconds`].
    pub fn subsecond_nanos(self) -> u32 {
        u32::try_from(self.0.rem_euclid(1_000_000)).unwrap_or(0) * 1_000
    }

    /// The instant `duration` later, or the end of time.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// The instant `duration` earlier, or the beginning of time.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_added_is_what_lies_between(start in -4_000_000_000_000_000i64..4_000_000_000_000_000, gap in 0u64..1_000_000_000_000) {
            let start = Timestamp::from_micros(start);
            let gap = Duration::from_micros(gap);
            prop_assert_eq!(start.plus(gap).since(start), gap);
            prop_assert_eq!(start.since(start.plus(gap)), Duration::ZERO);
        }

        #[test]
        fn seconds_and_nanos_make_the_instant_again(micros in any::<i32>()) {
            let at = Timestamp::from_micros(i64::from(micros) * 997);
            prop_assert_eq!(at.as_seconds() * 1_000_000 + i64::from(at.subsecond_nanos()) / 1_000, at.as_micros());
        }
    }
}
