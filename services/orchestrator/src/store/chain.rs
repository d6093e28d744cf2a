//! The records of this start itself: one chain, whose records are written with the rows that they are about.

use std::sync::Arc;

use parking_lot::Mutex;
use sandgate_audit::{Entry, HASH_BYTES, seal};
use sandgate_db::Write;
use sandgate_types::Clock;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Store, StoreError, audit};

/// The last record of a chain: its number and hash.
pub(super) type Head = (i64, [u8; HASH_BYTES]);

/// What is before the first record.
const BEGINNING: Head = (0, [0; HASH_BYTES]);

/// The chain of one start of the orchestrator, of which it is the only writer.
#[derive(Debug)]
pub(super) struct Chain {
    writer: String,
    clock: Arc<dyn Clock>,
    /// Held from the reading of the head to the end of the transaction that moves it.
    turn: Semaphore,
    /// Unknown while a record is being written, and after a write of which nobody knows the end.
    head: Mutex<Option<Head>>,
}

/// The right to append, for one transaction. Dropped without [`Turn::committed`], the head is read again.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    chain: &'a Chain,
    next: Option<Head>,
    _permit: Option<SemaphorePermit<'a>>,
}

impl Chain {
    pub(super) fn new(writer: String, clock: Arc<dyn Clock>) -> Self {
        Self {
            writer,
            clock,
            turn: Semaphore::new(1),
            head: Mutex::new(Some(BEGINNING)),
        }
    }

    /// As after a write of which nobody knows the end.
    #[cfg(test)]
    pub(super) fn forget(&self) {
        *self.head.lock() = None;
    }

    /// Waits for the turn. Taken before a connection is, so that nobody holds one and waits.
    pub(super) async fn turn(&self) -> Turn<'_> {
        Turn {
            chain: self,
            next: None,
            // Nobody closes the semaphore, so there always is one.
            _permit: self.turn.acquire().await.ok(),
        }
    }
}

impl Turn<'_> {
    /// Puts a record into the chain, as part of `write`.
    pub(super) async fn append(
        &mut self,
        write: &mut Write,
        entry: Entry,
    ) -> Result<(), StoreError> {
        let known = self.next.take().or_else(|| self.chain.head.lock().take());
        let (sequence, previous) = match known {
            Some(head) => head,
            None => audit::head(write, &self.chain.writer)
                .await?
                .unwrap_or(BEGINNING),
        };
        let (sequence, at) = (sequence + 1, self.chain.clock.now());
        let record = seal(&self.chain.writer, sequence, at, previous, entry);
        audit::insert(write, &record, at).await?;
        self.next = Some((sequence, audit::hash_of(&record)?));
        Ok(())
    }

    /// The transaction is written.
    pub(super) fn committed(self) {
        if let Some(next) = self.next {
            *self.chain.head.lock() = Some(next);
        }
    }
}

impl Store {
    /// Puts what has no row of its own on record. When this returns, it survives the process.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing is certain then, and what it is about must not happen.
    pub(crate) async fn record(&self, entry: Entry) -> Result<(), StoreError> {
        let mut turn = self.chain.turn().await;
        let mut write = self.database.begin_write().await?;
        turn.append(&mut write, entry).await?;
        write.commit().await?;
        turn.committed();
        Ok(())
    }
}
