//! The processes that were started here: all that run, and the last that ended.
//!
//! A handle is random, so that it cannot be guessed, and is compared in constant time. The table decides
//! who is forgotten when; it starts and ends nothing.

use std::sync::Arc;

use rand::CryptoRng;
use sandgate_types::LinkId;
use subtle::ConstantTimeEq as _;

/// The most processes of this service that run at a time. What they start themselves is bounded by the
/// sandbox's own limit on processes.
pub(crate) const RUNNING_MAX: usize = 128;
/// How many that ended are remembered.
pub(crate) const ENDED_MAX: usize = 64;

const _: () = assert!(
    RUNNING_MAX + ENDED_MAX <= super::ring::RINGS_MAX,
    "each process that is remembered has a ring"
);

/// That as many processes run as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{RUNNING_MAX} processes run already")]
pub(crate) struct Crowded;

/// The table. Entries are shared with whoever streams from them, so forgetting one ends nobody's stream.
#[derive(Debug)]
pub(crate) struct Table<T> {
    /// In order of start.
    entries: Vec<Entry<T>>,
    starts: u64,
    ends: u64,
    /// Places of processes that are being started.
    starting: usize,
}

#[derive(Debug)]
struct Entry<T> {
    id: LinkId,
    value: Arc<T>,
    /// The how-manieth to start, which outlives it as a place in the list.
    started: u64,
    /// The how-manieth to end; absent while it runs.
    ended: Option<u64>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            starts: 0,
            ends: 0,
            starting: 0,
        }
    }
}

impl<T> Table<T> {
    /// Keeps a place for a process that is about to start, until it is entered or the place is given back.
    ///
    /// # Errors
    /// [`Crowded`], when [`RUNNING_MAX`] run or are about to.
    pub(crate) fn admit(&mut self) -> Result<(), Crowded> {
        if self.running().count() + self.starting >= RUNNING_MAX {
            return Err(Crowded);
        }
        self.starting += 1;
        Ok(())
    }

    /// Gives the place of a process back that did not start.
    pub(crate) fn give_back(&mut self) {
        self.starting = self.starting.saturating_sub(1);
    }

    /// Enters a process that was started in the place that was kept for it, under a new handle.
    pub(crate) fn enter<R: CryptoRng + ?Sized>(&mut self, value: Arc<T>, rng: &mut R) -> LinkId {
        self.give_back();
        let id = LinkId::random(rng);
        let started = self.starts;
        self.starts += 1;
        self.entries.push(Entry {
            id: id.clone(),
            value,
            started,
            ended: None,
        });
        id
    }

    /// Notes that a process ended, and answers the one that is forgotten for it, if any.
    pub(crate) fn end(&mut self, id: &LinkId) -> Option<Arc<T>> {
        let order = self.ends;
        let entry = self
            .entries
            .iter_mut()
            .find(|entry| entry.id == *id && entry.ended.is_none())?;
        entry.ended = Some(order);
        self.ends += 1;
        let ended = self
            .entries
            .iter()
            .filter(|entry| entry.ended.is_some())
            .count();
        if ended <= ENDED_MAX {
            return None;
        }
        let (oldest, _) = self
            .entries
            .iter()
            .enumerate()
            .filter_map(|(index, entry)| Some((index, entry.ended?)))
            .min_by_key(|(_, order)| *order)?;
        Some(self.entries.remove(oldest).value)
    }

    /// The process with this handle. Looks at every entry, so that time tells nothing about near misses.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<T>> {
        let mut found = None;
        for entry in &self.entries {
            if bool::from(entry.id.as_str().as_bytes().ct_eq(id.as_bytes())) {
                found = Some(Arc::clone(&entry.value));
            }
        }
        found
    }

    /// All of them, newest first: the how-manieth each was to start, and its handle.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = (u64, &LinkId, &Arc<T>)> {
        self.entries
            .iter()
            .rev()
            .map(|entry| (entry.started, &entry.id, &entry.value))
    }

    /// Those that run.
    pub(crate) fn running(&self) -> impl Iterator<Item = &Arc<T>> {
        self.entries
            .iter()
            .filter(|entry| entry.ended.is_none())
            .map(|entry| &entry.value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn the_last_64_that_ended_are_remembered_and_no_more() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut table = Table::default();
        let ids: Vec<LinkId> = (0..100)
            .map(|number| table.enter(Arc::new(number), &mut rng))
            .collect();
        let forgotten: Vec<i32> = ids
            .iter()
            .filter_map(|id| table.end(id))
            .map(|value| *value)
            .collect();
        assert_eq!(forgotten, (0..36).collect::<Vec<_>>());
        assert!(table.find(ids[35].as_str()).is_none());
        assert!(table.find(ids[36].as_str()).is_some());
        assert_eq!(table.newest_first().count(), ENDED_MAX);
    }

    #[test]
    fn places_are_kept_for_all_that_are_about_to_start_and_come_back_when_one_does_not() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut table = Table::default();
        for _ in 0..RUNNING_MAX {
            table.admit().expect("there is room");
        }
        assert_eq!(table.admit(), Err(Crowded), "though none has started yet");
        table.give_back();
        table.admit().expect("the place of one that failed");
        let id = table.enter(Arc::new(()), &mut rng);
        assert_eq!(table.admit(), Err(Crowded), "the others are on their way");
        table.end(&id);
        table.admit().expect("the place of one that ended");
    }

    #[test]
    fn a_handle_that_was_never_given_finds_nothing() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut table = Table::default();
        let id = table.enter(Arc::new(()), &mut rng);
        assert!(table.find("").is_none());
        assert!(table.find(&id.as_str()[..25]).is_none());
        assert!(table.find(id.as_str()).is_some());
    }

    proptest! {
        #[test]
        fn who_runs_is_never_forgotten(ends in proptest::collection::vec((any::<bool>(), 0usize..128), 0..400)) {
            let mut rng = StdRng::seed_from_u64(7);
            let mut table: Table<u64> = Table::default();
            let mut running: Vec<LinkId> = Vec::new();
            let mut number = 0;
            for (start, which) in ends {
                if start {
                    match table.admit() {
                        Ok(()) => {
                            number += 1;
                            running.push(table.enter(Arc::new(number), &mut rng));
                        }
                        Err(Crowded) => prop_assert_eq!(running.len(), RUNNING_MAX),
                    }
                } else if !running.is_empty() {
                    let id = running.swap_remove(which % running.len());
                    table.end(&id);
                    prop_assert!(table.find(id.as_str()).is_some(), "the newest end is remembered");
                }
                prop_assert!(running.iter().all(|id| table.find(id.as_str()).is_some()));
                prop_assert_eq!(table.running().count(), running.len());
                prop_assert!(table.newest_first().count() <= running.len() + ENDED_MAX);
            }
        }
    }
}
