//! Every decision on record; what cannot be recorded is refused.
//!
//! A refusal is on disk before its answer leaves. Of many of one kind within a second that is so for the first;
//! the others are counted, and one record has their number when the second is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use http::HeaderMap;
use sandgate_audit::{Decision, Entry, Log, Receipt, Refused};
use sandgate_rpc::{RequestName, Shutdown};

use crate::client::Origin;
use crate::refusal::Refusal;
use crate::tally::{Asker, Noted, Tally};

/// Records of this start that may wait to be collected. The disk has them; a collector that is this far
/// behind has to be seen to before more is decided.
const LAG_MAX: i64 = 1_000_000;
/// The same for refusals: what is left is for what is allowed, so that refusals alone never stop it.
const REFUSED_LAG_MAX: i64 = LAG_MAX / 2;
/// In which refusals of one kind are counted.
const SECOND: Duration = Duration::from_secs(1);

/// Who asked for what.
#[derive(Debug, Clone, Default)]
pub(crate) struct Who {
    /// What was asked: an RPC's full name, or a route's name and method.
    pub(crate) action: String,
    /// The tenant, as far as it is known.
    pub(crate) tenant: String,
    /// The principal, as far as it is known.
    pub(crate) principal: String,
    /// The sandbox, where there is one.
    pub(crate) sandbox: String,
    /// The request.
    pub(crate) request: String,
    /// From where it came, where that is not the principal's own link.
    pub(crate) origin: Option<Origin>,
}

impl Who {
    /// Says the request's name to whoever asked, as services do in their answers.
    pub(crate) fn name(&self, headers: &mut HeaderMap) {
        if let Some(name) = RequestName::parse(&self.request) {
            name.answer(headers);
        }
    }
}

/// The gate's records.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    log: Log,
    /// The newest number that was given.
    taken: Arc<AtomicI64>,
    collected: Arc<AtomicI64>,
    tally: Arc<Tally>,
}

impl Records {
    /// Writes to `log`.
    pub(crate) fn new(log: Log) -> Self {
        Self {
            log,
            taken: Arc::new(AtomicI64::new(0)),
            collected: Arc::new(AtomicI64::new(0)),
            tally: Arc::default(),
        }
    }

    /// The log's writer.
    pub(crate) fn writer(&self) -> &str {
        self.log.writer()
    }

    /// Notes how far this start's records are collected.
    pub(crate) fn collected(&self, up_to: i64) {
        self.collected.store(up_to, Ordering::Relaxed);
    }

    /// Puts an allowed request on record; it is on disk within milliseconds.
    ///
    /// # Errors
    /// When it cannot be recorded, and so must not happen.
    pub(crate) fn allowed(&self, who: &Who) -> Result<(), Refusal> {
        self.append_allowed(who).map(drop)
    }

    /// Puts an allowed change on record, and answers once that is on disk: only then may it be passed on.
    ///
    /// # Errors
    /// When it cannot be recorded, and so must not happen.
    pub(crate) async fn allowed_and_kept(&self, who: &Who) -> Result<(), Refusal> {
        let receipt = self.append_allowed(who)?;
        receipt.durable().await.map_err(|_| Refusal::Unrecorded)
    }

    fn append_allowed(&self, who: &Who) -> Result<Receipt, Refusal> {
        self.append(entry(who, Decision::Allowed, ""), LAG_MAX)
            .map_err(|_| Refusal::Unrecorded)
    }

    /// Looks at the lag first: what is refused for it must not make it longer.
    fn append(&self, entry: Entry, lag_max: i64) -> Result<Receipt, Refused> {
        let lag = self.taken.load(Ordering::Relaxed) - self.collected.load(Ordering::Relaxed);
        if lag >= lag_max {
            return Err(Refused::Full);
        }
        let receipt = self.log.append(entry)?;
        self.taken.fetch_max(receipt.sequence(), Ordering::Relaxed);
        Ok(receipt)
    }

    /// Puts a refusal of what was allowed at first on record: of a message in the middle of a stream. Nothing waits
    /// for the disk, as what is refused has not gone on, and the call ends either way.
    pub(crate) fn refused_meanwhile(&self, who: &Who, refusal: &Refusal) {
        let asker = asker_of(who);
        let entry = entry(who, Decision::Refused, refusal.reason());
        match self.tally.note(&asker, &entry) {
            Noted::Again => {}
            Noted::First => {
                if self.append(entry.clone(), REFUSED_LAG_MAX).is_err() {
                    self.tally.note(&asker, &entry);
                }
            }
        }
    }

    /// Puts a refusal on record, and answers what is to be answered: once it is on disk, or at once where it is
    /// one of many and counted.
    pub(crate) async fn refused(&self, who: &Who, refusal: Refusal) -> Refusal {
        let asker = asker_of(who);
        let entry = entry(who, Decision::Refused, refusal.reason());
        match self.tally.note(&asker, &entry) {
            Noted::Again => return refusal,
            Noted::First => {}
        }
        let kept = match self.append(entry.clone(), REFUSED_LAG_MAX) {
            Ok(receipt) => receipt.durable().await,
            Err(refused) => Err(refused),
        };
        match kept {
            Ok(()) => refusal,
            Err(_) => {
                // There was no room for its own record, so it is one of those that are counted.
                self.tally.note(&asker, &entry);
                Refusal::Unrecorded
            }
        }
    }

    /// Records what was counted, each second until the end.
    pub(crate) async fn settle(&self, shutdown: Shutdown) {
        loop {
            let ending = tokio::select! {
                () = shutdown.cancelled() => true,
                () = tokio::time::sleep(SECOND) => false,
            };
            for (asker, counted) in self.tally.take() {
                if self.append(counted.clone(), REFUSED_LAG_MAX).is_err() {
                    self.tally.put_back(&asker, counted);
                }
            }
            if ending {
                return;
            }
        }
    }
}

/// Whose refusals are counted together. Whoever has shown no key is one of few, wherever it comes from.
fn asker_of(who: &Who) -> Asker {
    if who.principal.is_empty() {
        Asker::Stranger(who.origin)
    } else {
        Asker::Known(who.principal.clone())
    }
}

fn entry(who: &Who, decision: Decision, reason: &str) -> Entry {
    Entry {
        decision,
        action: who.action.clone(),
        reason: reason.to_owned(),
        tenant: who.tenant.clone(),
        principal: who.principal.clone(),
        sandbox: who.sandbox.clone(),
        request_id: who.request.clone(),
    }
}
