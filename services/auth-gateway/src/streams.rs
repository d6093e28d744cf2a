//! Every request that is on its way, and how it is cut when what allowed it ends.
//!
//! A request is entered *before* it is checked against feeds, so that whatever changes after the check finds
//! it here; there is no moment at which a revoked request is neither refused nor cut.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use sandgate_session::Claims;
use sandgate_types::{ApiKeyId, Generation, InstanceId, SandboxId, TenantId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::policy::Route;
use crate::refusal::{CutReason, Refusal};

/// On what a request rests.
#[derive(Debug, Clone)]
pub(crate) enum Subject {
    /// A session's token.
    Session {
        /// What it says.
        claims: Arc<Claims>,
        /// The route that allowed it; none for the daemon.
        route: Option<Arc<Route>>,
    },
    /// An API key.
    Key {
        /// The key.
        key: ApiKeyId,
        /// The sandbox that it reaches, if it reaches one.
        target: Option<Reached>,
    },
}

/// A sandbox that a client reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reached {
    /// The sandbox.
    pub(crate) sandbox: SandboxId,
    /// Its instance.
    pub(crate) instance: InstanceId,
    /// The generation.
    pub(crate) generation: Generation,
}

/// Requests on their way at a time, before new ones are refused: about 64 MiB of what each holds here.
const OPEN_MAX: usize = 16_384;

/// All requests on their way.
///
/// A tenant may have as many as there is room left for others: one alone takes half at most, and whatever number
/// of tenants take all that they may, there is room for one more.
#[derive(Debug)]
pub(crate) struct Streams {
    max: usize,
    next: AtomicU64,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    open: HashMap<u64, Entry>,
    /// How many each tenant has.
    of_tenant: HashMap<TenantId, usize>,
}

#[derive(Debug)]
struct Entry {
    tenant: TenantId,
    subject: Subject,
    cut: Cut,
    answer: Option<Answer>,
}

/// What is held for an answer on its way.
#[derive(Debug)]
struct Answer {
    held: Weak<dyn Abandon>,
    until: Option<Instant>,
}

/// What is held for a reader, and can be let go without it.
pub(crate) trait Abandon: Send + Sync {
    /// Lets go.
    fn abandon(&self);
}

/// Tells a request that it is cut, and why.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cut {
    token: CancellationToken,
    reason: Arc<OnceLock<CutReason>>,
}

impl Cut {
    /// Cuts; the first reason stays.
    pub(crate) fn now(&self, reason: CutReason) {
        // The first reason is the cause; a later one is a consequence.
        self.reason.get_or_init(|| reason);
        self.token.cancel();
    }

    /// Why it was cut, if it was.
    pub(crate) fn reason(&self) -> Option<CutReason> {
        self.reason.get().copied()
    }

    /// Ends when it is cut.
    pub(crate) fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Waits until it is cut.
    pub(crate) async fn happened(&self) -> CutReason {
        self.token.cancelled().await;
        self.reason().unwrap_or(CutReason::Ending)
    }
}

/// A request that is entered; it leaves with this value.
#[derive(Debug)]
pub(crate) struct Open {
    streams: Arc<Streams>,
    number: u64,
    cut: Cut,
}

impl Open {
    /// How it is told that it is cut.
    pub(crate) fn cut(&self) -> &Cut {
        &self.cut
    }

    /// States by which route it was allowed, once that is known.
    pub(crate) fn rests_on(&self, allowed_by: &Arc<Route>) {
        if let Some(entry) = self.streams.table.lock().open.get_mut(&self.number)
            && let Subject::Session { route, .. } = &mut entry.subject
        {
            *route = Some(Arc::clone(allowed_by));
        }
    }

    /// States what is held for the reader of its answer, and until when at most.
    pub(crate) fn abandons(&self, held: Weak<dyn Abandon>, until: Option<Instant>) {
        if let Some(entry) = self.streams.table.lock().open.get_mut(&self.number) {
            entry.answer = Some(Answer { held, until });
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.streams.table.lock().remove(self.number);
    }
}

impl Default for Streams {
    fn default() -> Self {
        Self::at_most(OPEN_MAX)
    }
}

impl Table {
    fn remove(&mut self, number: u64) {
        let Some(Entry { tenant, .. }) = self.open.remove(&number) else {
            return;
        };
        if let Some(own) = self.of_tenant.get_mut(&tenant) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                self.of_tenant.remove(&tenant);
            }
        }
    }
}

impl Streams {
    fn at_most(max: usize) -> Self {
        Self {
            max,
            next: AtomicU64::new(0),
            table: Mutex::default(),
        }
    }

    /// Enters a request of a tenant.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`], when as many are on their way as may be, and [`Refusal::TenantOverloaded`], when
    /// as many of the tenant are.
    pub(crate) fn open(
        self: &Arc<Self>,
        tenant: &TenantId,
        subject: Subject,
    ) -> Result<Open, Refusal> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let cut = Cut::default();
        let entry = Entry {
            tenant: tenant.clone(),
            subject,
            cut: cut.clone(),
            answer: None,
        };
        let mut table = self.table.lock();
        let left = self.max.saturating_sub(table.open.len());
        let own = table.of_tenant.get(tenant).copied().unwrap_or(0);
        if left == 0 {
            return Err(Refusal::Overloaded);
        }
        if own >= left {
            return Err(Refusal::TenantOverloaded);
        }
        table.of_tenant.insert(tenant.clone(), own + 1);
        table.open.insert(number, entry);
        drop(table);
        Ok(Open {
            streams: Arc::clone(self),
            number,
            cut,
        })
    }

    /// Cuts every request for which `because` has a reason.
    pub(crate) fn cut_where(&self, because: impl Fn(&Subject) -> Option<CutReason>) {
        let hit: Vec<(Cut, CutReason)> = {
            let table = self.table.lock();
            let open = table.open.values();
            open.filter_map(|entry| {
                because(&entry.subject).map(|reason| (entry.cut.clone(), reason))
            })
            .collect()
        };
        // Outside of the lock: whoever is woken leaves by it.
        for (cut, reason) in hit {
            cut.now(reason);
        }
    }

    /// Lets go of what is held for answers that are cut, or over their time, and whose readers have not heard of it: who
    /// opens no window is not asked. They are not on their way any more.
    pub(crate) fn abandon_stalled(&self, now: Instant) {
        let stalled: Vec<(u64, Weak<dyn Abandon>)> = {
            let table = self.table.lock();
            let open = table.open.iter();
            open.filter_map(|(number, entry)| {
                let answer = entry.answer.as_ref()?;
                let over = answer.until.is_some_and(|until| until <= now);
                let over = over || entry.cut.reason().is_some();
                over.then(|| (*number, Weak::clone(&answer.held)))
            })
            .collect()
        };
        for (number, held) in stalled {
            if let Some(held) = held.upgrade() {
                held.abandon();
            }
            self.table.lock().remove(number);
        }
    }

    /// Shows each request that is on its way.
    pub(crate) fn each(&self, mut look: impl FnMut(&Subject)) {
        for entry in self.table.lock().open.values() {
            look(&entry.subject);
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.table.lock().open.len()
    }
}

#[cfg(test)]
mod tests {
    use sandgate_session::Operations;
    use sandgate_testkit::claims;

    use super::*;

    fn open(streams: &Arc<Streams>, tenant: &str) -> Result<Open, Refusal> {
        let claims = Arc::new(claims(tenant, "ann", Operations::All));
        let tenant = claims.tenant.clone();
        let route = None;
        streams.open(&tenant, Subject::Session { claims, route })
    }

    /// All that a tenant gets, and why it gets no more.
    fn flood(streams: &Arc<Streams>, tenant: &str) -> (Vec<Open>, Refusal) {
        let mut held = Vec::new();
        loop {
            match open(streams, tenant) {
                Ok(one) => held.push(one),
                Err(refusal) => return (held, refusal),
            }
        }
    }

    #[test]
    fn one_tenants_flood_takes_half_and_another_is_served() {
        let streams = Arc::new(Streams::at_most(64));
        let (acme, refusal) = flood(&streams, "acme");
        assert_eq!((acme.len(), refusal), (32, Refusal::TenantOverloaded));
        assert!(open(&streams, "other").is_ok());
        drop(acme);
        assert!(open(&streams, "acme").is_ok());
        assert!(streams.table.lock().of_tenant.is_empty());
    }

    #[test]
    fn many_tenants_that_flood_leave_room_for_one_more() {
        let streams = Arc::new(Streams::at_most(1_000));
        let floods: Vec<_> = (0..8)
            .map(|number| flood(&streams, &format!("t{number}")))
            .collect();
        assert!(floods.iter().all(|(held, _)| !held.is_empty()));
        assert!(open(&streams, "newcomer").is_ok());
    }

    #[tokio::test]
    async fn what_is_cut_knows_why_and_what_ended_is_forgotten() {
        let streams = Arc::new(Streams::default());
        let (acme, other) = (
            open(&streams, "acme").expect("room"),
            open(&streams, "other").expect("room"),
        );
        streams.cut_where(|subject| match subject {
            Subject::Session { claims, .. } => {
                (claims.tenant.as_str() == "acme").then_some(CutReason::Revoked)
            }
            Subject::Key { .. } => None,
        });
        assert_eq!(acme.cut().happened().await, CutReason::Revoked);
        assert_eq!(other.cut().reason(), None);
        drop((acme, other));
        assert_eq!(streams.count(), 0);
    }

    /// What is held for an answer, and whether it was let go.
    #[derive(Default)]
    struct Held(std::sync::atomic::AtomicBool);

    impl Abandon for Held {
        fn abandon(&self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_for_nobody_is_let_go_when_it_is_cut_or_over_its_time() {
        let streams = Arc::new(Streams::default());
        let second = std::time::Duration::from_secs(1);
        let entered = |until| {
            let held = Arc::new(Held::default());
            let open = open(&streams, "acme").expect("room");
            let weak: Arc<dyn Abandon> = Arc::<Held>::clone(&held);
            open.abandons(Arc::downgrade(&weak), until);
            (open, held)
        };
        let (timed, cut, lasting) = (
            entered(Some(Instant::now() + second)),
            entered(None),
            entered(None),
        );
        let let_go = || [&timed, &cut, &lasting].map(|(_, held)| held.0.load(Ordering::SeqCst));
        streams.abandon_stalled(Instant::now());
        assert_eq!((let_go(), streams.count()), ([false, false, false], 3));
        cut.0.cut().now(CutReason::Revoked);
        streams.abandon_stalled(Instant::now());
        assert_eq!((let_go(), streams.count()), ([false, true, false], 2));
        streams.abandon_stalled(Instant::now() + second);
        assert_eq!((let_go(), streams.count()), ([true, true, false], 1));
    }
}
