//! How long a gate may serve on what it last heard, and how long the issuer must expect that it does.
//!
//! Both count on a clock that no one sets and that runs while the machine sleeps. The gate counts from the
//! moment at which it *sent* the request that was answered, the issuer from a later one, when it answers; so
//! the gate stops first, whatever the network does.

use std::collections::HashMap;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How long a lease lasts.
pub const LEASE: Duration = Duration::from_secs(3);
/// How often the feed shows that it lives.
pub const HEARTBEAT: Duration = Duration::from_secs(1);

/// A moment since this machine was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// The present moment, by `CLOCK_BOOTTIME`.
    pub fn now() -> Self {
        let at = clock_gettime(ClockId::Boottime);
        Self(Duration::new(
            u64::try_from(at.tv_sec).unwrap_or(0),
            u32::try_from(at.tv_nsec).unwrap_or(0),
        ))
    }

    /// The moment `since` the machine's start.
    pub const fn since_boot(since: Duration) -> Self {
        Self(since)
    }

    /// The moment `duration` later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// How long it is until `later`; zero when that is past.
    pub fn until(self, later: Self) -> Duration {
        later.0.saturating_sub(self.0)
    }
}

/// A gate's side: until when it may serve.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lease {
    until: Option<Moment>,
}

impl Lease {
    /// None was granted yet.
    pub const fn none() -> Self {
        Self { until: None }
    }

    /// Takes a grant of `lease`, answered to a request that was sent at `sent`. A grant never shortens what an
    /// earlier one gave; one of zero gives nothing.
    pub fn granted(&mut self, sent: Moment, lease: Duration) {
        if !lease.is_zero() {
            // An answer that promises more than we know of is cut to what we know of.
            self.until = self.until.max(Some(sent.plus(lease.min(LEASE))));
        }
    }

    /// Gives up what is left: the feed differs, or the gate ends.
    pub fn forfeit(&mut self) {
        self.until = None;
    }

    /// Whether the gate may serve at `now`.
    pub fn is_held(&self, now: Moment) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// When it lapses, unless another grant comes.
    pub fn until(&self) -> Option<Moment> {
        self.until
    }
}

/// The issuer's side: which gates may still be serving, and what they have applied.
#[derive(Debug)]
pub struct Leases {
    gates: HashMap<String, Gate>,
    /// Gates of an earlier issuer may hold leases until then.
    others_until: Moment,
}

#[derive(Debug, Clone, Copy)]
struct Gate {
    until: Moment,
    applied: i64,
}

/// How the gates stand to one revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Gates that have applied it.
    pub acknowledged: u32,
    /// Gates whose lease has lapsed before they did.
    pub lapsed: u32,
    /// When the first of the gates that are waited for lapses; `None` when none is.
    pub waits_until: Option<Moment>,
}

impl Leases {
    /// Leases of an issuer that begins at `now`. Where an earlier issuer may have granted some, nothing that
    /// is revoked within the first [`LEASE`] counts as known before they have lapsed.
    pub fn begin(now: Moment, others_may_hold_some: bool) -> Self {
        Self {
            gates: HashMap::new(),
            others_until: if others_may_hold_some {
                now.plus(LEASE)
            } else {
                now
            },
        }
    }

    /// Grants a lease to a gate that has `applied` all up to `head`; answers how long it is. A gate that is
    /// behind gets none: it catches up and asks again, while what it has runs down.
    pub fn renew(&mut self, gate: &str, applied: i64, head: i64, now: Moment) -> Duration {
        let lease = if applied == head {
            LEASE
        } else {
            Duration::ZERO
        };
        match self.gates.get_mut(gate) {
            Some(known) => {
                known.applied = applied;
                if !lease.is_zero() {
                    known.until = now.plus(lease);
                }
            }
            None if lease.is_zero() => {}
            None => {
                self.gates.insert(
                    gate.to_owned(),
                    Gate {
                        until: now.plus(lease),
                        applied,
                    },
                );
            }
        }
        lease
    }

    /// How the gates stand to the revocation `sequence`.
    pub fn standing(&self, sequence: i64, now: Moment) -> Standing {
        let mut standing = Standing {
            acknowledged: 0,
            lapsed: 0,
            waits_until: None,
        };
        if now < self.others_until {
            standing.waits_until = Some(self.others_until);
        }
        for gate in self.gates.values() {
            if gate.applied >= sequence {
                standing.acknowledged += 1;
            } else if gate.until <= now {
                standing.lapsed += 1;
            } else {
                let sooner = standing
                    .waits_until
                    .map_or(gate.until, |other| other.min(gate.until));
                standing.waits_until = Some(sooner);
            }
        }
        standing
    }

    /// Forgets gates that lapsed long ago; a gate's id is random at each of its starts, so they would pile up.
    pub fn forget_lapsed(&mut self, now: Moment, long_ago: Duration) {
        self.gates.retain(|_, gate| now < gate.until.plus(long_ago));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::since_boot(Duration::from_millis(millis))
    }

    #[test]
    fn a_gate_counts_from_when_it_sent_and_not_from_when_it_heard() {
        let mut lease = Lease::none();
        assert!(!lease.is_held(at(0)));
        lease.granted(at(1_000), LEASE);
        assert!(lease.is_held(at(3_999)));
        assert!(!lease.is_held(at(4_000)));
        // An older answer that comes late takes nothing away and gives nothing.
        lease.granted(at(500), LEASE);
        assert!(lease.is_held(at(3_999)) && !lease.is_held(at(4_000)));
    }

    #[test]
    fn a_grant_of_zero_gives_nothing_and_one_of_a_year_no_more_than_the_rule() {
        let mut lease = Lease::none();
        lease.granted(at(0), Duration::ZERO);
        assert!(!lease.is_held(at(0)));
        lease.granted(at(0), Duration::from_secs(31_536_000));
        assert!(!lease.is_held(at(3_000)));
    }

    #[test]
    fn the_gate_stops_before_the_issuer_counts_on_it() {
        let (mut lease, mut leases) = (Lease::none(), Leases::begin(at(0), false));
        // Sent at 1000, heard by the issuer at 1200.
        let granted = leases.renew("g", 0, 0, at(1_200));
        lease.granted(at(1_000), granted);
        for now in 0..6_000 {
            let counted_out = leases.standing(1, at(now)).waits_until.is_none();
            assert!(
                !(counted_out && lease.is_held(at(now)) && now >= 1_200),
                "at {now} ms"
            );
        }
    }

    #[test]
    fn a_gate_that_is_behind_keeps_what_it_has_and_gets_no_more() {
        let mut leases = Leases::begin(at(0), false);
        assert_eq!(leases.renew("g", 4, 4, at(0)), LEASE);
        assert_eq!(leases.renew("g", 4, 5, at(1_000)), Duration::ZERO);
        let waited = Standing {
            acknowledged: 0,
            lapsed: 0,
            waits_until: Some(at(3_000)),
        };
        assert_eq!(leases.standing(5, at(1_000)), waited);
        assert_eq!(leases.standing(5, at(3_000)).lapsed, 1);
        assert_eq!(leases.renew("g", 5, 5, at(3_500)), LEASE);
        assert_eq!(leases.standing(5, at(3_500)).acknowledged, 1);
    }

    #[test]
    fn an_issuer_that_starts_waits_for_gates_that_it_does_not_know() {
        let leases = Leases::begin(at(0), true);
        assert_eq!(leases.standing(1, at(2_999)).waits_until, Some(at(3_000)));
        assert_eq!(leases.standing(1, at(3_000)).waits_until, None);
    }

    #[test]
    fn gates_of_earlier_starts_are_forgotten() {
        let mut leases = Leases::begin(at(0), false);
        leases.renew("g", 0, 0, at(0));
        leases.forget_lapsed(at(3_500), Duration::from_secs(1));
        assert_eq!(leases.standing(1, at(3_500)).lapsed, 1);
        leases.forget_lapsed(at(4_500), Duration::from_secs(1));
        assert_eq!(leases.standing(1, at(4_500)).lapsed, 0);
    }
}
