//! One record, and the chain that ties it to the one before.

use prost::Message as _;
use sandgate_api::audit::v1 as pb;
use sandgate_api::timestamp_to;
use sandgate_types::Timestamp;

use crate::log::QUEUE_MAX;

/// A BLAKE3 hash.
pub const HASH_BYTES: usize = 32;
/// Names of tenants, principals and actions are shorter; what a bug or a peer makes longer is cut, so that a
/// record stays small whatever it is about.
const TEXT_MAX_BYTES: usize = 256;

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It was allowed.
    Allowed,
    /// It was refused.
    Refused,
    /// So many more were refused for the same reason, soon after one that has its own record.
    RefusedMore(u32),
}

impl Decision {
    /// How many records may wait for the disk before one of this decision is not taken. Refusals leave room:
    /// whoever has many of them must not stop what is allowed to others.
    pub(crate) const fn room(self) -> usize {
        match self {
            Self::Allowed => QUEUE_MAX,
            Self::Refused | Self::RefusedMore(_) => QUEUE_MAX / 2,
        }
    }
}

/// What a service wants on record: who, what and why, never what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The decision.
    pub decision: Decision,
    /// What was asked: an RPC's full name, or a route's name and method.
    pub action: String,
    /// Why it was refused: an UPPER_SNAKE constant; empty when it was allowed.
    pub reason: String,
    /// The tenant; empty when it is unknown.
    pub tenant: String,
    /// The principal's id; empty when it is unknown.
    pub principal: String,
    /// The sandbox; empty when there is none.
    pub sandbox: String,
    /// The id of the request.
    pub request_id: String,
}

/// Where a chain is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record {sequence} of {writer} {rule}")]
pub struct BrokenChain {
    /// Whose chain.
    pub writer: String,
    /// The first record that is not what it should be.
    pub sequence: i64,
    /// What is wrong with it.
    pub rule: &'static str,
}

/// Makes the record of `entry` that follows a record with the hash `previous`.
pub fn seal(
    writer: &str,
    sequence: i64,
    at: Timestamp,
    previous: [u8; HASH_BYTES],
    entry: Entry,
) -> pb::Record {
    let mut record = bare(writer, sequence, at, previous, entry);
    record.hash = hash_of(&record).to_vec();
    record
}

/// [`seal`], without the hash yet.
pub(crate) fn bare(
    writer: &str,
    sequence: i64,
    at: Timestamp,
    previous: [u8; HASH_BYTES],
    entry: Entry,
) -> pb::Record {
    let Entry {
        decision,
        action,
        reason,
        tenant,
        principal,
        sandbox,
        request_id,
    } = entry;
    let (decision, count) = match decision {
        Decision::Allowed => (pb::Decision::Allowed, 0),
        Decision::Refused => (pb::Decision::Refused, 0),
        Decision::RefusedMore(count) => (pb::Decision::Refused, count.into()),
    };
    pb::Record {
        writer: writer.to_owned(),
        sequence,
        at: Some(timestamp_to(at)),
        decision: decision.into(),
        action: cut(action),
        reason: cut(reason),
        tenant: cut(tenant),
        principal: cut(principal),
        sandbox_id: cut(sandbox),
        request_id: cut(request_id),
        count,
        previous_hash: previous.to_vec(),
        hash: Vec::new(),
    }
}

/// The hash that a record must carry: over the encoding of all its fields but the hash itself.
pub(crate) fn hash_of(record: &pb::Record) -> [u8; HASH_BYTES] {
    let mut bare = record.clone();
    bare.hash = Vec::new();
    *blake3::hash(&bare.encode_to_vec()).as_bytes()
}

/// Checks consecutive records of one writer: numbers without gaps, each hash right, each tied to the one
/// before. `previous` is the hash of the record before the first; zeros at the beginning of a chain.
///
/// # Errors
/// The first record that breaks the chain.
pub fn verify(previous: [u8; HASH_BYTES], records: &[pb::Record]) -> Result<(), BrokenChain> {
    let mut expected = previous;
    let mut number = None;
    for record in records {
        let broken = |rule| BrokenChain {
            writer: record.writer.clone(),
            sequence: record.sequence,
            rule,
        };
        if number.is_some_and(|number| record.sequence != number) {
            return Err(broken("does not follow the number before it"));
        }
        if record.sequence < 1 {
            return Err(broken("has a number below 1"));
        }
        if record.previous_hash != expected {
            return Err(broken("is not tied to the record before it"));
        }
        let hash = hash_of(record);
        if record.hash != hash {
            return Err(broken("is not what was written"));
        }
        expected = hash;
        number = Some(record.sequence.saturating_add(1));
    }
    Ok(())
}

fn cut(mut text: String) -> String {
    if text.len() > TEXT_MAX_BYTES {
        let end = (0..=TEXT_MAX_BYTES)
            .rev()
            .find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(action: &str) -> Entry {
        Entry {
            decision: Decision::Refused,
            action: action.to_owned(),
            reason: "ROUTE_UNKNOWN".to_owned(),
            tenant: "a".to_owned(),
            principal: "k".to_owned(),
            sandbox: String::new(),
            request_id: "r".to_owned(),
        }
    }

    fn chain(length: i64) -> Vec<pb::Record> {
        let mut previous = [0; HASH_BYTES];
        (1..=length)
            .map(|sequence| {
                let record = seal(
                    "gate/1",
                    sequence,
                    Timestamp::from_seconds(sequence),
                    previous,
                    entry("x"),
                );
                previous = hash_of(&record);
                record
            })
            .collect()
    }

    #[test]
    fn a_chain_as_it_was_written_holds() {
        assert_eq!(verify([0; HASH_BYTES], &chain(5)), Ok(()));
    }

    #[test]
    fn a_record_that_was_left_out_is_named() {
        let mut records = chain(5);
        records.remove(2);
        let broken = verify([0; HASH_BYTES], &records).expect_err("a gap");
        assert_eq!(broken.sequence, 4);
    }

    #[test]
    fn a_first_record_that_was_left_out_is_named() {
        let broken = verify([0; HASH_BYTES], &chain(3)[1..]).expect_err("no beginning");
        assert_eq!(broken.sequence, 2);
    }

    #[test]
    fn refusals_leave_room_for_what_is_allowed() {
        assert!(Decision::Refused.room() < Decision::Allowed.room());
        assert!(Decision::RefusedMore(2).room() < Decision::Allowed.room());
    }

    #[test]
    fn a_number_of_refusals_is_one_record_and_no_other_number_has_its_hash() {
        let more = |count| Entry {
            decision: Decision::RefusedMore(count),
            ..entry("x")
        };
        let at = Timestamp::from_seconds(1);
        let mut record = seal("w", 1, at, [0; HASH_BYTES], more(7));
        assert_eq!(
            (record.decision(), record.count),
            (pb::Decision::Refused, 7)
        );
        record.count = 8;
        verify([0; HASH_BYTES], &[record]).expect_err("changed");
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let record = seal(
            "w",
            1,
            Timestamp::from_seconds(0),
            [0; HASH_BYTES],
            entry(&"ä".repeat(300)),
        );
        assert_eq!(record.action, "ä".repeat(128));
    }

    proptest! {
        #[test]
        fn any_change_of_any_field_is_seen(at in 0usize..4, field in 0usize..6, text in "[a-z]{1,8}") {
            let mut records = chain(4);
            let before = records[at].clone();
            match field {
                0 => records[at].action = text,
                1 => records[at].reason = text,
                2 => records[at].tenant = format!("{text}!"),
                3 => records[at].request_id = format!("{text}!"),
                4 => records[at].decision = pb::Decision::Allowed.into(),
                _ => records[at].at = None,
            }
            prop_assume!(records[at] != before);
            let broken = verify([0; HASH_BYTES], &records).expect_err("changed");
            prop_assert_eq!(broken.sequence, i64::try_from(at).expect("small") + 1);
        }
    }
}
