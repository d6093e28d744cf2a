//! The rules of the rings.

use proptest::prelude::*;

use super::*;

fn fill(rings: &mut Rings, key: RingKey, stream: Stream, mut count: usize) -> usize {
    let mut pushed = 0;
    while count > 0 {
        let room = rings.room(key).min(count);
        if room == 0 {
            break;
        }
        rings.push(key, stream, &vec![b'x'; room]);
        pushed += room;
        count -= room;
    }
    pushed
}

#[test]
fn a_reader_gets_what_was_written_in_order_and_by_stream() {
    let mut rings = Rings::default();
    let key = rings.open();
    let reader = rings.attach(key, 0).expect("the beginning is kept");
    rings.push(key, Stream::Stdout, b"one");
    rings.push(key, Stream::Stderr, b"two");
    rings.push(key, Stream::Stderr, b"three");
    let first = rings.read(key, reader).expect("a piece");
    assert_eq!(
        (first.stream, first.offset, &first.data[..]),
        (Stream::Stdout, 0, &b"one"[..])
    );
    let second = rings.read(key, reader).expect("a piece");
    assert_eq!(
        (second.stream, second.offset, &second.data[..]),
        (Stream::Stderr, 3, &b"twothree"[..])
    );
    assert_eq!(rings.read(key, reader), None);
}

#[test]
fn a_detached_ring_keeps_the_newest_mebibyte() {
    let mut rings = Rings::default();
    let key = rings.open();
    assert_eq!(
        fill(&mut rings, key, Stream::Stdout, 10 * PROCESS_MAX_BYTES),
        10 * PROCESS_MAX_BYTES
    );
    let refusal = rings.attach(key, 0).expect_err("evicted");
    assert_eq!(refusal.end, 10 * PROCESS_MAX_BYTES as u64);
    let kept = refusal.end - refusal.first;
    assert!(
        kept <= PROCESS_MAX_BYTES as u64 && kept > (PROCESS_MAX_BYTES - 2 * PIECE_MAX_BYTES) as u64,
        "{kept}"
    );
    rings
        .attach(key, refusal.first)
        .expect("the first offset kept is what the refusal says");
}

#[test]
fn an_attached_reader_loses_nothing_and_holds_its_process_back() {
    let mut rings = Rings::default();
    let key = rings.open();
    let reader = rings.attach(key, 0).expect("attach");
    let pushed = fill(&mut rings, key, Stream::Stdout, 10 * PROCESS_MAX_BYTES);
    assert!(pushed < PROCESS_MAX_BYTES);
    assert_eq!(rings.room(key), 0);
    let piece = rings.read(key, reader).expect("a piece");
    assert_eq!(piece.offset, 0);
    assert_eq!(rings.room(key), piece.data.len());
}

#[test]
fn a_reader_that_left_holds_nothing_back() {
    let mut rings = Rings::default();
    let key = rings.open();
    let reader = rings.attach(key, 0).expect("attach");
    fill(&mut rings, key, Stream::Stdout, 10 * PROCESS_MAX_BYTES);
    rings.detach(key, reader);
    assert_eq!(rings.room(key), PIECE_MAX_BYTES);
}

#[test]
fn sleeping_readers_of_others_never_stop_a_process() {
    let mut rings = Rings::default();
    let sleepers: Vec<_> = (0..10)
        .map(|_| {
            let key = rings.open();
            let reader = rings.attach(key, 0).expect("attach");
            fill(&mut rings, key, Stream::Stdout, PROCESS_MAX_BYTES);
            (key, reader)
        })
        .collect();
    assert!(rings.cost() <= SANDBOX_MAX_BYTES);
    let key = rings.open();
    let reader = rings.attach(key, 0).expect("attach");
    for _ in 0..100 {
        assert!(rings.room(key) > 1000);
        rings.push(key, Stream::Stdout, &[b'y'; 1000]);
        assert_eq!(rings.read(key, reader).expect("a piece").data.len(), 1000);
    }
    for (sleeper, reader) in sleepers {
        assert!(
            rings
                .peek(sleeper, reader)
                .is_some_and(|piece| piece.offset == 0)
        );
    }
}

#[test]
fn an_offset_that_was_never_written_is_not_kept() {
    let mut rings = Rings::default();
    let key = rings.open();
    rings.push(key, Stream::Stdout, b"abc");
    assert_eq!(
        rings.attach(key, 4).expect_err("beyond"),
        NotKept { first: 0, end: 3 }
    );
    rings
        .attach(key, 3)
        .expect("the end itself is where output goes on");
}

#[test]
fn the_tail_is_what_came_last() {
    let mut rings = Rings::default();
    let key = rings.open();
    rings.push(key, Stream::Stdout, b"begin ");
    rings.push(key, Stream::Stderr, b"end");
    assert_eq!(rings.tail(key, 5), b"n end");
    assert_eq!(rings.tail(key, 500), b"begin end");
}

#[derive(Debug, Clone)]
enum Step {
    Push {
        ring: usize,
        stderr: bool,
        bytes: usize,
    },
    Read {
        ring: usize,
    },
    Attach {
        ring: usize,
    },
    Detach {
        ring: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ring = 0usize..6;
    let step = prop_oneof![
        (ring.clone(), any::<bool>(), 1usize..150_000).prop_map(|(ring, stderr, bytes)| {
            Step::Push {
                ring,
                stderr,
                bytes,
            }
        }),
        ring.clone().prop_map(|ring| Step::Read { ring }),
        ring.clone().prop_map(|ring| Step::Attach { ring }),
        ring.prop_map(|ring| Step::Detach { ring }),
    ];
    proptest::collection::vec(step, 1..60)
}

/// The byte that a process writes at an offset.
fn byte_at(ring: usize, offset: u64) -> u8 {
    u8::try_from((offset.wrapping_mul(31) + ring as u64 * 7) % 251).expect("below 251")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn bounds_hold_and_readers_see_every_byte_whatever_happens(steps in steps()) {
        let mut rings = Rings::default();
        let keys: Vec<RingKey> = (0..6).map(|_| rings.open()).collect();
        let mut written = [0u64; 6];
        let mut readers: Vec<Option<(ReaderKey, u64)>> = vec![None; 6];
        for step in steps {
            match step {
                Step::Push { ring, stderr, bytes } => {
                    let stream = if stderr { Stream::Stderr } else { Stream::Stdout };
                    let count = rings.room(keys[ring]).min(bytes);
                    let data: Vec<u8> = (0..count as u64).map(|at| byte_at(ring, written[ring] + at)).collect();
                    rings.push(keys[ring], stream, &data);
                    written[ring] += count as u64;
                }
                Step::Read { ring } => {
                    if let Some((reader, position)) = &mut readers[ring] {
                        match rings.read(keys[ring], *reader) {
                            Some(piece) => {
                                prop_assert_eq!(piece.offset, *position);
                                prop_assert!(!piece.data.is_empty() && piece.data.len() <= PIECE_MAX_BYTES);
                                for (index, byte) in piece.data.iter().enumerate() {
                                    prop_assert_eq!(*byte, byte_at(ring, *position + index as u64));
                                }
                                *position += piece.data.len() as u64;
                            }
                            None => prop_assert_eq!(*position, written[ring]),
                        }
                    }
                }
                Step::Attach { ring } => {
                    if readers[ring].is_none() {
                        let from = match rings.attach(keys[ring], 0) {
                            Ok(reader) => (reader, 0),
                            Err(kept) => (rings.attach(keys[ring], kept.first).expect("kept"), kept.first),
                        };
                        readers[ring] = Some(from);
                    }
                }
                Step::Detach { ring } => {
                    if let Some((reader, _)) = readers[ring].take() {
                        rings.detach(keys[ring], reader);
                    }
                }
            }
            prop_assert!(rings.cost() <= SANDBOX_MAX_BYTES);
            for ring in 0..6 {
                prop_assert_eq!(rings.written(keys[ring]), written[ring]);
                prop_assert!(rings.rings[&keys[ring]].cost() <= PROCESS_MAX_BYTES);
                if readers[ring].is_none() {
                    // Six rings cannot use up what is shared by what readers hold back, plus one piece.
                    prop_assert!(rings.room(keys[ring]) > 0);
                }
            }
        }
    }
}
