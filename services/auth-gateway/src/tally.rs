//! Refusals of one second. The first of each kind has a record of its own; the others are counted.
//!
//! So whoever asks, however often and for whatever, fills no disk: there are few kinds of strangers, and few kinds
//! of refusals that one asker has apart from each other.

use std::collections::HashMap;

use parking_lot::Mutex;
use sandgate_audit::{Decision, Entry};

use crate::client::Origin;

/// Kinds of one asker that are told apart in a second; what is beyond is counted together.
const KINDS_MAX: usize = 8;
/// In the place of the action and the reason of what is counted together.
const VARIOUS_ACTION: &str = "various";
const VARIOUS_REASON: &str = "VARIOUS";

/// Whose refusals are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Asker {
    /// A principal.
    Known(String),
    /// Somebody who has not shown who it is.
    Stranger(Option<Origin>),
}

/// What came of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noted {
    /// It is the first of its kind, and has to be recorded.
    First,
    /// It is counted.
    Again,
}

/// What was refused in this second.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<HashMap<Asker, Kinds>>);

#[derive(Debug, Default)]
struct Kinds {
    /// By reason and action.
    apart: HashMap<(String, String), Kind>,
    together: Option<Kind>,
}

#[derive(Debug)]
struct Kind {
    entry: Entry,
    more: u32,
}

impl Tally {
    /// Notes a refusal.
    pub(crate) fn note(&self, asker: &Asker, entry: &Entry) -> Noted {
        let mut tally = self.0.lock();
        tally.entry(asker.clone()).or_default().note(entry, 1)
    }

    /// Takes what was counted, as it is recorded, and begins anew.
    pub(crate) fn take(&self) -> Vec<(Asker, Entry)> {
        let tally = std::mem::take(&mut *self.0.lock());
        let mut counted = Vec::new();
        for (asker, Kinds { apart, together }) in tally {
            let kinds = apart.into_values().chain(together);
            for Kind { mut entry, more } in kinds.filter(|kind| kind.more > 0) {
                entry.decision = Decision::RefusedMore(more);
                entry.request_id = String::new();
                counted.push((asker.clone(), entry));
            }
        }
        counted
    }

    /// Counts again what was taken and could not be recorded.
    pub(crate) fn put_back(&self, asker: &Asker, counted: Entry) {
        let more = match counted.decision {
            Decision::RefusedMore(more) => more,
            Decision::Allowed | Decision::Refused => return,
        };
        let mut tally = self.0.lock();
        let kinds = tally.entry(asker.clone()).or_default();
        if kinds.note(&counted, more) == Noted::First {
            kinds.note(&counted, more);
        }
    }
}

impl Kinds {
    /// Notes so many refusals; where they are the first of their kind they are not counted.
    fn note(&mut self, entry: &Entry, more: u32) -> Noted {
        let key = (entry.reason.clone(), entry.action.clone());
        if let Some(kind) = self.apart.get_mut(&key) {
            kind.count(entry, more);
            return Noted::Again;
        }
        if self.apart.len() >= KINDS_MAX {
            self.count_together(entry, more);
            return Noted::Again;
        }
        self.apart.insert(key, Kind::of(entry));
        Noted::First
    }

    fn count_together(&mut self, entry: &Entry, more: u32) {
        let together = self.together.get_or_insert_with(|| {
            let mut kind = Kind::of(entry);
            VARIOUS_ACTION.clone_into(&mut kind.entry.action);
            VARIOUS_REASON.clone_into(&mut kind.entry.reason);
            kind
        });
        together.count(entry, more);
    }
}

impl Kind {
    fn of(entry: &Entry) -> Self {
        Self {
            entry: entry.clone(),
            more: 0,
        }
    }

    fn count(&mut self, entry: &Entry, more: u32) {
        self.more = self.more.saturating_add(more);
        // A record of several is of a sandbox where all of them are.
        if self.entry.sandbox != entry.sandbox {
            self.entry.sandbox = String::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(action: &str) -> Entry {
        Entry {
            decision: Decision::Refused,
            action: action.to_owned(),
            reason: "NO".to_owned(),
            tenant: String::new(),
            principal: String::new(),
            sandbox: String::new(),
            request_id: "r".to_owned(),
        }
    }

    fn told(tally: &Tally) -> Vec<(String, Decision)> {
        let taken = tally.take().into_iter();
        let mut told: Vec<_> = taken
            .map(|(_, entry)| (entry.action, entry.decision))
            .collect();
        told.sort_by(|one, other| one.0.cmp(&other.0));
        told
    }

    #[test]
    fn the_first_of_each_kind_is_apart_and_the_others_are_counted() {
        let (tally, stranger) = (Tally::default(), Asker::Stranger(Some(Origin::Public)));
        assert_eq!(tally.note(&stranger, &refused("a")), Noted::First);
        assert_eq!(tally.note(&stranger, &refused("a")), Noted::Again);
        assert_eq!(tally.note(&stranger, &refused("a")), Noted::Again);
        assert_eq!(tally.note(&stranger, &refused("b")), Noted::First);
        assert_eq!(
            tally.note(&Asker::Known("k".to_owned()), &refused("a")),
            Noted::First
        );
        assert_eq!(told(&tally), [("a".to_owned(), Decision::RefusedMore(2))]);
        assert!(told(&tally).is_empty());
        assert_eq!(tally.note(&stranger, &refused("a")), Noted::First);
    }

    #[test]
    fn whoever_is_refused_for_ever_other_things_has_no_more_records_for_it() {
        let (tally, asker) = (Tally::default(), Asker::Known("k".to_owned()));
        let firsts = (0..1_000)
            .filter(|number| tally.note(&asker, &refused(&number.to_string())) == Noted::First);
        assert_eq!(firsts.count(), KINDS_MAX);
        let rest = 1_000 - u32::try_from(KINDS_MAX).expect("few");
        assert_eq!(
            told(&tally),
            [(VARIOUS_ACTION.to_owned(), Decision::RefusedMore(rest))]
        );
    }

    #[test]
    fn what_could_not_be_recorded_is_counted_on() {
        let (tally, asker) = (Tally::default(), Asker::Known("k".to_owned()));
        tally.note(&asker, &refused("a"));
        tally.note(&asker, &refused("a"));
        for (asker, counted) in tally.take() {
            tally.put_back(&asker, counted);
        }
        assert_eq!(tally.note(&asker, &refused("a")), Noted::Again);
        assert_eq!(told(&tally), [("a".to_owned(), Decision::RefusedMore(2))]);
    }
}
