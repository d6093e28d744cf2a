//! When signing keys come and go, as a function of their rows and the time, so that every replica decides alike.
//!
//! A key is published before it signs, and published for as long as a token that it signed may live. So no gate meets
//! a token by a key that it could not know, and the list of keys stays closed: what left it is refused.

use std::time::Duration;

use sandgate_session::{LEEWAY, TOKEN_MAX};
use sandgate_types::Timestamp;

use crate::store::StoredSigningKey;

/// How long a key is published before it signs. A gate relies on its list of keys for 10 minutes at most, and a replica
/// of this service on its rows for [`ROWS_AGE_MAX`]; the rest is for clocks that differ.
pub(crate) const LEAD: Duration = Duration::from_secs(15 * 60);
/// How long rows that were read may be relied on: beyond it, a replica would not notice in time what another has begun.
pub(crate) const ROWS_AGE_MAX: Duration = Duration::from_secs(4 * 60);
/// How long a key is published after the next one began to sign: the longest life of a token, by clocks of which one is
/// early and one is late.
const RETIRING: Duration = Duration::from_secs(TOKEN_MAX.as_secs() + 2 * LEEWAY.as_secs());

/// Where a key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Published, and not signing yet.
    Upcoming,
    /// The one that signs.
    Active,
    /// It signs no more, and what it signed may still live, until this instant.
    Retiring(Timestamp),
}

/// What is to be done about the keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    /// Whether the next key has to be made.
    pub make: bool,
    /// Keys that nothing needs any more.
    pub remove: Vec<String>,
}

/// The key that signs at `now`, of keys in the order of their ordinals: the newest whose time has come.
pub(crate) fn active(keys: &[impl SignsFrom], now: Timestamp) -> usize {
    let begun = |key: &_| SignsFrom::signs_from(key) <= now;
    keys.iter().rposition(begun).unwrap_or(0)
}

/// What has a time from which on it signs.
pub(crate) trait SignsFrom {
    /// From when on.
    fn signs_from(&self) -> Timestamp;
}

impl SignsFrom for StoredSigningKey {
    fn signs_from(&self) -> Timestamp {
        self.signs_from
    }
}

/// The phase of each key, of keys in the order of their ordinals.
pub(crate) fn phases(keys: &[StoredSigningKey], now: Timestamp) -> Vec<Phase> {
    let active = active(keys, now);
    let next = keys
        .iter()
        .skip(1)
        .map(|next| next.signs_from.plus(RETIRING));
    let ends: Vec<Timestamp> = next.collect();
    (0..keys.len())
        .map(|index| match ends.get(index) {
            Some(end) if index < active => Phase::Retiring(*end),
            Some(_) | None if index == active => Phase::Active,
            Some(_) | None => Phase::Upcoming,
        })
        .collect()
}

/// What is due at `now`, where a key signs for `age`.
pub(crate) fn due(keys: &[StoredSigningKey], now: Timestamp, age: Duration) -> Due {
    let phases = phases(keys, now);
    let old = keys
        .last()
        .is_some_and(|newest| newest.signs_from.plus(age) <= now.plus(LEAD));
    let remove = keys
        .iter()
        .zip(&phases)
        .filter_map(|(key, phase)| match phase {
            Phase::Retiring(until) if *until <= now => Some(key.key_id.clone()),
            Phase::Retiring(_) | Phase::Active | Phase::Upcoming => None,
        });
    Due {
        make: old && phases.last() == Some(&Phase::Active),
        remove: remove.collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::master_key::Sealed;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn key(ordinal: i64, signs_from: Timestamp) -> StoredSigningKey {
        StoredSigningKey {
            key_id: format!("key-{ordinal}"),
            algorithm: "EdDSA".to_owned(),
            public_key: Vec::new(),
            sealed: Sealed {
                master_key_id: String::new(),
                bytes: Vec::new(),
            },
            created_at: signs_from,
            ordinal,
            signs_from,
        }
    }

    #[test]
    fn a_key_is_published_before_it_signs_and_for_as_long_as_its_tokens_live() {
        let start = Timestamp::from_seconds(1_800_000_000);
        let mut keys = vec![key(1, start)];
        let wanted = start.plus(DAY - LEAD);
        let before = Timestamp::from_micros(wanted.as_micros() - 1);
        assert_eq!(due(&keys, before, DAY), Due::default());
        assert!(due(&keys, wanted, DAY).make);
        keys.push(key(2, start.plus(DAY)));
        assert_eq!(due(&keys, wanted, DAY), Due::default());
        assert_eq!(phases(&keys, wanted), [Phase::Active, Phase::Upcoming]);
        let end = start.plus(DAY + RETIRING);
        let turned = start.plus(DAY);
        assert_eq!(phases(&keys, turned), [Phase::Retiring(end), Phase::Active]);
        assert_eq!(due(&keys, turned, DAY), Due::default());
        assert_eq!(due(&keys, end, DAY).remove, ["key-1"]);
    }

    proptest! {
        /// Step by step through a life, with every step that is due taken at once or late: whatever signs was published
        /// for the lead before, and whatever leaves had not signed for the life of a token.
        #[test]
        fn no_token_outlives_its_key_and_no_key_signs_unheard_of(
            steps in proptest::collection::vec(1u64..7_200, 1..400),
        ) {
            let mut now = Timestamp::from_seconds(1_800_000_000);
            let mut keys = vec![key(1, now)];
            let mut published = std::collections::HashMap::from([("key-1".to_owned(), Timestamp::EPOCH)]);
            let mut signed = std::collections::HashMap::new();
            for step in steps {
                now = now.plus(Duration::from_secs(step));
                let signing = &keys[active(&keys, now)];
                prop_assert!(published[&signing.key_id].plus(LEAD) <= now);
                signed.insert(signing.key_id.clone(), now);
                let due = due(&keys, now, DAY);
                for gone in due.remove {
                    let last = signed.get(&gone).copied().unwrap_or(Timestamp::EPOCH);
                    prop_assert!(last.plus(TOKEN_MAX + LEEWAY) <= now);
                    keys.retain(|key| key.key_id != gone);
                }
                if due.make {
                    let ordinal = keys.last().expect("a key").ordinal + 1;
                    keys.push(key(ordinal, now.plus(LEAD)));
                    published.insert(format!("key-{ordinal}"), now);
                }
                prop_assert!(keys.len() <= 3);
            }
        }
    }
}
