//! Every request that is on its way, and how it is cut when what allowed it ends.
//!
//! A request is entered *before* it is checked against feeds, so that whatever changes after the check finds
//! it here; there is no moment at which a revoked request is neither refused nor cut.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use sandgate_session::Claims;
use sandgate_types::{ApiKeyId, Generation, InstanceId, SandboxId};
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
#[derive(Debug, Default)]
pub(crate) struct Streams {
    next: AtomicU64,
    open: Mutex<HashMap<u64, Entry>>,
}

#[derive(Debug)]
struct Entry {
    subject: Subject,
    cut: Cut,
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
        if let Some(entry) = self.streams.open.lock().get_mut(&self.number)
            && let Subject::Session { route, .. } = &mut entry.subject
        {
            *route = Some(Arc::clone(allowed_by));
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.streams.open.lock().remove(&self.number);
    }
}

impl Streams {
    /// Enters a request.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`], when as many are on their way as may be.
    pub(crate) fn open(self: &Arc<Self>, subject: Subject) -> Result<Open, Refusal> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let cut = Cut::default();
        let entry = Entry {
            subject,
            cut: cut.clone(),
        };
        let mut open = self.open.lock();
        if open.len() >= OPEN_MAX {
            return Err(Refusal::Overloaded);
        }
        open.insert(number, entry);
        drop(open);
        Ok(Open {
            streams: Arc::clone(self),
            number,
            cut,
        })
    }

    /// Cuts every request for which `because` has a reason.
    pub(crate) fn cut_where(&self, because: impl Fn(&Subject) -> Option<CutReason>) {
        let hit: Vec<(Cut, CutReason)> = {
            let open = self.open.lock();
            open.values()
                .filter_map(|entry| {
                    because(&entry.subject).map(|reason| (entry.cut.clone(), reason))
                })
                .collect()
        };
        // Outside of the lock: whoever is woken leaves by it.
        for (cut, reason) in hit {
            cut.now(reason);
        }
    }

    /// Shows each request that is on its way.
    pub(crate) fn each(&self, mut look: impl FnMut(&Subject)) {
        for entry in self.open.lock().values() {
            look(&entry.subject);
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.open.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use sandgate_session::Operations;

    use super::*;
    use crate::testing::claims;

    #[tokio::test]
    async fn what_is_cut_knows_why_and_what_ended_is_forgotten() {
        let streams = Arc::new(Streams::default());
        let subject = |tenant: &str| Subject::Session {
            claims: Arc::new(claims(tenant, "ann", Operations::All)),
            route: None,
        };
        let (acme, other) = (
            streams.open(subject("acme")).expect("room"),
            streams.open(subject("other")).expect("room"),
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
}
