//! Every decision on record. A refusal is on disk before its answer leaves; what cannot be recorded is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use http::HeaderMap;
use sandgate_audit::{Decision, Entry, Log, Receipt};
use sandgate_rpc::RequestName;

use crate::refusal::Refusal;

/// Records of this start that may wait to be collected. The disk has them; a collector that is this far
/// behind has to be seen to before more is decided.
const LAG_MAX: i64 = 1_000_000;

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
    collected: Arc<AtomicI64>,
}

impl Records {
    /// Writes to `log`.
    pub(crate) fn new(log: Log) -> Self {
        Self {
            log,
            collected: Arc::new(AtomicI64::new(0)),
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
        let receipt = self
            .log
            .append(entry(who, Decision::Allowed, ""))
            .map_err(|_| Refusal::Unrecorded)?;
        if receipt.sequence() - self.collected.load(Ordering::Relaxed) > LAG_MAX {
            return Err(Refusal::Unrecorded);
        }
        Ok(receipt)
    }

    /// Puts a refusal on record, and answers what is to be answered once it is on disk.
    pub(crate) async fn refused(&self, who: &Who, refusal: Refusal) -> Refusal {
        let receipt = self
            .log
            .append(entry(who, Decision::Refused, refusal.reason()));
        match receipt {
            Ok(receipt) => match receipt.durable().await {
                Ok(()) => refusal,
                Err(_) => Refusal::Unrecorded,
            },
            Err(_) => Refusal::Unrecorded,
        }
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
