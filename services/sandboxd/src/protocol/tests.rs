//! The bytes between keeper and runner: what is said is heard, and what is no message is refused.
//!
//! In a cluster the two come with different images, so their bytes are pinned by stored vectors.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn bytes(longest: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..longest)
}

prop_compose! {
    fn time()(seconds in any::<i64>(), nanos in any::<u32>()) -> Time {
        Time { seconds, nanos }
    }
}

prop_compose! {
    fn info()(
        path in bytes(40), kind in 0..6, size in any::<u64>(), mode in any::<u32>(),
        modified in proptest::option::of(time()), changed in proptest::option::of(time()),
        inode in any::<u64>(), link_target in bytes(40),
    ) -> Info {
        Info { path, kind, size, mode, modified, changed, inode, link_target }
    }
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::done()),
        (-1..40).prop_map(|why| Outcome::Failure(Failure { why })),
        any::<u32>().prop_map(|pid| Outcome::Launched(Launched { pid })),
        any::<bool>().prop_map(Outcome::Signalled),
        info().prop_map(Outcome::Info),
        (vec(info(), 0..5), any::<bool>())
            .prop_map(|(entries, more)| Outcome::Listing(Listing { entries, more })),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        vec(".{0,20}", 0..4).prop_map(|open_ways| Event::Hello(Hello { open_ways })),
        (any::<u64>(), proptest::option::of(outcome()))
            .prop_map(|(id, outcome)| Event::Answer(Answer { id, outcome })),
        (any::<u64>(), any::<i32>(), any::<i32>()).prop_map(|(process, signal, code)| {
            Event::Exited(Exited {
                process,
                signal,
                code,
            })
        }),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let path = || bytes(60);
    prop_oneof![
        Just(Request::Launch(Nothing {})),
        (any::<u64>(), any::<i32>(), any::<bool>()).prop_map(|(process, signal, group)| {
            Request::Signal(Signal {
                process,
                signal,
                group,
            })
        }),
        Just(Request::KillAll(Nothing {})),
        any::<u32>().prop_map(Request::Dial),
        path().prop_map(Request::Open),
        (path(), any::<bool>())
            .prop_map(|(path, make_parents)| Request::Create(Create { path, make_parents })),
        (any::<u64>(), any::<u32>())
            .prop_map(|(file, mode)| Request::Commit(Commit { file, mode })),
        any::<u64>().prop_map(Request::Abandon),
        path().prop_map(Request::Stat),
        (path(), path(), any::<u32>()).prop_map(|(path, after, most)| Request::List(List {
            path,
            after,
            most
        })),
        (path(), any::<u32>(), any::<bool>()).prop_map(|(path, mode, make_parents)| {
            Request::MakeDirectory(MakeDirectory {
                path,
                mode,
                make_parents,
            })
        }),
        (path(), path(), any::<bool>()).prop_map(|(source, target, replace)| {
            Request::Move(Move {
                source,
                target,
                replace,
            })
        }),
        (path(), any::<bool>())
            .prop_map(|(path, recursive)| Request::Remove(Remove { path, recursive })),
        Just(Request::Walk(Nothing {})),
        Just(Request::Apply(Nothing {})),
        (path(), any::<bool>())
            .prop_map(|(path, recursive)| Request::Watch(Watch { path, recursive })),
    ]
}

/// What the other end of a pair hears of a packet.
fn heard(packet: &[u8]) -> OwnedFd {
    let (ours, theirs) = packet::pair().expect("a pair");
    packet::send(&ours, packet, &[]).expect("sent");
    theirs
}

/// That `answer` is a message, or a refusal of what is none.
fn is_decided<T>(answer: io::Result<Option<T>>) -> Result<(), TestCaseError> {
    match answer {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(TestCaseError::fail("nobody left")),
        Err(error) => {
            prop_assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            Ok(())
        }
    }
}

proptest! {
    #[test]
    fn what_the_runner_says_is_what_the_keeper_hears(event in event()) {
        let (ours, theirs) = packet::pair().expect("a pair");
        tell(&ours, event.clone(), &[]).expect("told");
        let (said, descriptors) = receive_event(&theirs).expect("heard").expect("there");
        prop_assert_eq!(said, event);
        prop_assert!(descriptors.is_empty());
    }

    #[test]
    fn what_the_keeper_asks_is_what_the_runner_hears(id in any::<u64>(), request in request()) {
        let message = ToRunner { id, request: Some(request.clone()) };
        let (number, asked, descriptors) =
            receive_request(heard(&message.encode_to_vec())).expect("heard").expect("there");
        prop_assert_eq!((number, asked), (id, request));
        prop_assert!(descriptors.is_empty());
    }

    #[test]
    fn bytes_that_are_no_message_are_refused_and_never_a_panic(bytes in vec(any::<u8>(), 1..200)) {
        // Some bytes are a message; what matters is that each answer is one.
        is_decided(receive_event(heard(&bytes)))?;
        is_decided(receive_request(heard(&bytes)))?;
    }

    #[test]
    fn a_message_with_any_byte_changed_is_another_or_refused(event in event(), at in 0..500_usize, byte in any::<u8>()) {
        let mut bytes = FromRunner { event: Some(event) }.encode_to_vec();
        let length = bytes.len();
        bytes[at % length] = byte;
        is_decided(receive_event(heard(&bytes)))?;
    }

    #[test]
    fn a_frame_says_its_own_length_and_holds_its_message(offset in any::<u64>(), bytes in bytes(300)) {
        let message = ApplyFrame { part: Some(ApplyPart::Data(Data { offset, bytes })) };
        let framed = frame(&message);
        let head: [u8; 4] = framed[..4].try_into().expect("four bytes");
        prop_assert_eq!(frame_length(head).expect("short"), framed.len() - 4);
        prop_assert_eq!(ApplyFrame::decode(&framed[4..]).expect("our own"), message);
    }

    #[test]
    fn no_frame_is_longer_than_one_may_be(head in any::<[u8; 4]>()) {
        prop_assert_eq!(
            frame_length(head).ok(),
            usize::try_from(u32::from_be_bytes(head)).ok().filter(|length| *length <= FRAME_MAX_BYTES)
        );
    }
}

#[test]
fn a_request_is_that_of_the_stored_vector() {
    let message = ToRunner {
        id: 3,
        request: Some(Request::Signal(Signal {
            process: 9,
            signal: 15,
            group: true,
        })),
    };
    let vector = [8, 3, 0x1a, 6, 8, 9, 0x10, 15, 0x18, 1];
    assert_eq!(message.encode_to_vec(), vector);
    let (id, request, _) = receive_request(heard(&vector))
        .expect("heard")
        .expect("there");
    assert_eq!((id, Some(request)), (3, message.request));
}

#[test]
fn an_answer_is_that_of_the_stored_vector() {
    let event = Event::Answer(Answer {
        id: 7,
        outcome: Some(Outcome::Signalled(true)),
    });
    let vector = [0x12, 4, 8, 7, 0x28, 1];
    let message = FromRunner {
        event: Some(event.clone()),
    };
    assert_eq!(message.encode_to_vec(), vector);
    let (said, _) = receive_event(heard(&vector))
        .expect("heard")
        .expect("there");
    assert_eq!(said, event);
}

#[test]
fn a_frame_is_that_of_the_stored_vector() {
    let message = ApplyFrame {
        part: Some(ApplyPart::Data(Data {
            offset: 7,
            bytes: b"ab".to_vec(),
        })),
    };
    let vector = [0, 0, 0, 8, 0x12, 6, 8, 7, 0x12, 2, b'a', b'b'];
    assert_eq!(frame(&message), vector);
}

#[test]
fn the_largest_piece_of_a_file_fits_a_frame() {
    let data = Data {
        offset: u64::MAX,
        bytes: vec![0; PIECE_MAX_BYTES],
    };
    let message = ApplyFrame {
        part: Some(ApplyPart::Data(data)),
    };
    assert!(frame(&message).len() <= FRAME_MAX_BYTES);
}
