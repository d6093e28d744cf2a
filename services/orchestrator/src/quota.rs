//! Quotas: how much a tenant, and each of its users, may use at once. Pure: what is used, and when, is handed in.
//!
//! What is used is what the rows of sandboxes say at the moment, so nothing has to be given back and nothing can
//! leak. Nobody waits for a quota: what is over one is refused at once, so that one tenant's burst delays no other's.

use std::time::Duration;

use sandgate_types::{Malformed, TenantId, Timestamp, UserId};

/// The largest number of anything that is limited.
const COUNT_MAX: u32 = 1_000_000;
/// More starts than this in a second are no limit.
const RATE_MAX: u32 = 100_000;
/// A start, in the unit in which starts are left.
const START: i64 = 1_000_000;

/// Whose quota it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Holder {
    /// The tenant as a whole.
    Tenant,
    /// Each user who has none of their own.
    EachUser,
    /// One user.
    User(UserId),
}

impl Holder {
    /// Reads the field `user` of a quota.
    ///
    /// # Errors
    /// The field, when it is none of these.
    pub(crate) fn parse(text: &str) -> Result<Self, Malformed> {
        match text {
            "" => Ok(Self::Tenant),
            "*" => Ok(Self::EachUser),
            user => UserId::parse("user", user).map(Self::User),
        }
    }

    /// As it was read.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Tenant => "",
            Self::EachUser => "*",
            Self::User(user) => user.as_str(),
        }
    }
}

/// What may be used at once; what is absent is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Sandboxes that hold an instance, or are on their way to or from one.
    pub(crate) live: Option<u32>,
    /// Suspended sandboxes.
    pub(crate) suspended: Option<u32>,
    /// Memory of live sandboxes, in bytes.
    pub(crate) memory: Option<u64>,
    /// Creates and resumes in a second.
    pub(crate) starts_per_second: Option<u32>,
}

impl Limits {
    /// Whether nothing is limited.
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Checks that they are within what can be counted.
    ///
    /// # Errors
    /// The first field that is not.
    pub(crate) fn check(&self) -> Result<(), Malformed> {
        for (field, limit, most) in [
            ("quota.live_sandboxes", self.live, COUNT_MAX),
            ("quota.suspended_sandboxes", self.suspended, COUNT_MAX),
            ("quota.starts_per_second", self.starts_per_second, RATE_MAX),
        ] {
            if limit.is_some_and(|limit| limit > most) {
                return Err(Malformed::new(field, format!("must be at most {most}")));
            }
        }
        Ok(())
    }
}

/// A quota as it was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quota {
    pub(crate) tenant: TenantId,
    pub(crate) holder: Holder,
    pub(crate) limits: Limits,
    pub(crate) updated_at: Timestamp,
}

/// What is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) live: u32,
    pub(crate) suspended: u32,
    pub(crate) memory: u64,
}

/// What is to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A live sandbox with so much memory more: a create, or a resume.
    Start {
        /// The memory of its template, in bytes.
        memory: u64,
    },
    /// A suspended sandbox more, for which somebody asked.
    Suspend,
}

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    /// Live sandboxes.
    Live,
    /// Suspended sandboxes.
    Suspended,
    /// Memory of live sandboxes.
    Memory,
    /// Starts in a second.
    Starts,
}

impl Resource {
    /// As the field of a quota is called.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live_sandboxes",
            Self::Suspended => "suspended_sandboxes",
            Self::Memory => "memory_bytes",
            Self::Starts => "starts_per_second",
        }
    }
}

/// A quota that would be exceeded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} of {} allow no more ({} of {limit} used)", resource.as_str(), if *of_user { "the user" } else { "the tenant" }, used)]
pub(crate) struct Exceeded {
    /// What is limited.
    pub(crate) resource: Resource,
    /// Whether it is the user's quota rather than the tenant's.
    pub(crate) of_user: bool,
    /// The limit.
    pub(crate) limit: u64,
    /// What is used of it.
    pub(crate) used: u64,
    /// When the same may be let through, where time alone helps.
    pub(crate) wait: Option<Duration>,
}

/// Whether what is asked fits beside what is used.
///
/// # Errors
/// The first limit that it would exceed.
pub(crate) fn admit(
    limits: &Limits,
    usage: &Usage,
    asked: Asked,
    of_user: bool,
) -> Result<(), Exceeded> {
    let exceeded = |resource, limit, used| Exceeded {
        resource,
        of_user,
        limit,
        used,
        wait: None,
    };
    match asked {
        Asked::Start { memory } => {
            if let Some(limit) = limits.live.filter(|limit| usage.live >= *limit) {
                return Err(exceeded(Resource::Live, limit.into(), usage.live.into()));
            }
            let after = usage.memory.saturating_add(memory);
            if let Some(limit) = limits.memory.filter(|limit| after > *limit) {
                return Err(exceeded(Resource::Memory, limit, usage.memory));
            }
        }
        Asked::Suspend => {
            let full = limits.suspended.filter(|limit| usage.suspended >= *limit);
            if let Some(limit) = full {
                let used = usage.suspended.into();
                return Err(exceeded(Resource::Suspended, limit.into(), used));
            }
        }
    }
    Ok(())
}

/// Starts that are left at an instant: a bucket that fills at the rate, to as many as the rate has in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// In millionths of a start.
    pub(crate) left: i64,
    pub(crate) at: Timestamp,
}

impl Bucket {
    /// Takes a start out of it, at `now`; a bucket that is not there yet is full.
    ///
    /// # Errors
    /// How long until there is one.
    pub(crate) fn take(before: Option<Self>, rate: u32, now: Timestamp) -> Result<Self, Duration> {
        let rate = i64::from(rate);
        let full = rate.saturating_mul(START);
        let left = before.map_or(full, |before| {
            let passed = now.since(before.at).as_micros();
            let passed = i64::try_from(passed).unwrap_or(i64::MAX);
            // A clock that went back fills nothing.
            before
                .left
                .saturating_add(passed.saturating_mul(rate))
                .min(full)
        });
        if left >= START {
            return Ok(Self {
                left: left - START,
                at: now,
            });
        }
        if rate == 0 {
            return Err(Duration::MAX);
        }
        let micros = u64::try_from((START - left).div_euclid(rate) + 1).unwrap_or(u64::MAX);
        Err(Duration::from_micros(micros))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START_OF_ONE: Asked = Asked::Start { memory: 10 };

    #[test]
    fn what_fits_is_admitted_and_the_first_limit_beyond_is_named() {
        let limits = Limits {
            live: Some(2),
            suspended: Some(1),
            memory: Some(25),
            starts_per_second: None,
        };
        let usage = |live, suspended, memory| Usage {
            live,
            suspended,
            memory,
        };
        let refused = |usage, asked| admit(&limits, &usage, asked, true).map_err(|e| e.resource);
        assert_eq!(refused(usage(1, 1, 15), START_OF_ONE), Ok(()));
        let over = refused(usage(2, 0, 0), START_OF_ONE);
        assert_eq!(over, Err(Resource::Live));
        let over = refused(usage(1, 0, 16), START_OF_ONE);
        assert_eq!(over, Err(Resource::Memory));
        assert_eq!(refused(usage(9, 0, 99), Asked::Suspend), Ok(()));
        let over = refused(usage(0, 1, 0), Asked::Suspend);
        assert_eq!(over, Err(Resource::Suspended));
        let none = Limits::default();
        assert_eq!(admit(&none, &usage(9, 9, 9), START_OF_ONE, false), Ok(()));
    }

    proptest! {
        #[test]
        fn no_second_has_more_starts_than_the_rate_and_a_burst(
            rate in 1u32..20,
            pauses in proptest::collection::vec(0i64..400_000, 1..200),
        ) {
            let mut bucket = None;
            let mut now = 0;
            let mut taken = Vec::new();
            for pause in pauses {
                now += pause;
                if let Ok(next) = Bucket::take(bucket, rate, Timestamp::from_micros(now)) {
                    bucket = Some(next);
                    taken.push(now);
                }
            }
            for (index, from) in taken.iter().enumerate() {
                let within = taken.iter().skip(index).filter(|at| **at < from + 1_000_000);
                prop_assert!(within.count() <= 2 * rate as usize);
            }
        }

        #[test]
        fn whoever_waits_as_told_is_let_through(rate in 1u32..1_000, left in 0i64..START) {
            let at = Timestamp::from_micros(5);
            let empty = Some(Bucket { left, at });
            let wait = Bucket::take(empty, rate, at).expect_err("not a whole one");
            prop_assert!(Bucket::take(empty, rate, at.plus(wait)).is_ok());
        }
    }
}
