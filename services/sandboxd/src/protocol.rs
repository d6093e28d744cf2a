//! What keeper and runner say to each other: one bounded message a packet, descriptors beside it.
//!
//! The keeper asks, by a number of its own choice, and gets one [`Answer`] under that number; what a process
//! does later comes as [`Exited`] under the number of its launch. What does not fit a packet travels through a
//! descriptor: a launch in a sealed-off memory file, whole trees as frames of a stream.
//!
//! The keeper believes nothing of this beyond the runner's own files and processes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use prost::Message as _;
use sandgate_session::packet::{self, PACKET_MAX_BYTES};

/// The most that a launch takes: arguments, environment and some to spare.
pub(crate) const LAUNCH_MAX_BYTES: u64 = 1024 * 1024;
/// The longest frame of a stream: a piece of a file and its surroundings.
pub(crate) const FRAME_MAX_BYTES: usize = 128 * 1024;
/// The most of a file in one frame.
pub(crate) const PIECE_MAX_BYTES: usize = 64 * 1024;
/// What the entries of one listing may take together, so that they fit a packet.
pub(crate) const LISTING_MAX_BYTES: usize = PACKET_MAX_BYTES - 8 * 1024;

/// What the keeper asks.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ToRunner {
    /// Chosen by the keeper, and used once.
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    #[prost(
        oneof = "Request",
        tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17"
    )]
    pub(crate) request: Option<Request>,
}

/// Each kind of request.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Request {
    /// Start what the memory file beside this describes.
    #[prost(message, tag = "2")]
    Launch(Nothing),
    #[prost(message, tag = "3")]
    Signal(Signal),
    /// Kill everything but the runner.
    #[prost(message, tag = "4")]
    KillAll(Nothing),
    /// Connect to a port of loopback.
    #[prost(uint32, tag = "5")]
    Dial(u32),
    /// Open a file for reading.
    #[prost(bytes = "vec", tag = "6")]
    Open(Vec<u8>),
    /// Begin a file that appears when it is committed.
    #[prost(message, tag = "7")]
    Create(Create),
    #[prost(message, tag = "8")]
    Commit(Commit),
    /// Forget the file that this request's number began.
    #[prost(uint64, tag = "9")]
    Abandon(u64),
    #[prost(bytes = "vec", tag = "10")]
    Stat(Vec<u8>),
    #[prost(message, tag = "11")]
    List(List),
    #[prost(message, tag = "12")]
    MakeDirectory(MakeDirectory),
    #[prost(message, tag = "13")]
    Move(Move),
    #[prost(message, tag = "14")]
    Remove(Remove),
    /// Write every entry of the workspace to the stream beside this.
    #[prost(message, tag = "15")]
    Walk(Nothing),
    /// Make the workspace what the stream beside this says.
    #[prost(message, tag = "16")]
    Apply(Nothing),
    /// Write what changes to the stream beside this.
    #[prost(message, tag = "17")]
    Watch(Watch),
}

/// That there is nothing to say.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Nothing {}

/// A process to start; too large for a packet.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Launch {
    #[prost(string, repeated, tag = "1")]
    pub(crate) argv: Vec<String>,
    /// `NAME=value`.
    #[prost(string, repeated, tag = "2")]
    pub(crate) environment: Vec<String>,
    #[prost(string, tag = "3")]
    pub(crate) cwd: String,
    #[prost(message, optional, tag = "4")]
    pub(crate) terminal: Option<Terminal>,
    /// Whether it gets an input that is not empty.
    #[prost(bool, tag = "5")]
    pub(crate) stdin: bool,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Terminal {
    #[prost(uint32, tag = "1")]
    pub(crate) rows: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) columns: u32,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Signal {
    /// The number of its launch.
    #[prost(uint64, tag = "1")]
    pub(crate) process: u64,
    #[prost(int32, tag = "2")]
    pub(crate) signal: i32,
    #[prost(bool, tag = "3")]
    pub(crate) group: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Create {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) path: Vec<u8>,
    #[prost(bool, tag = "2")]
    pub(crate) make_parents: bool,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Commit {
    /// The number of the request that began it.
    #[prost(uint64, tag = "1")]
    pub(crate) file: u64,
    #[prost(uint32, tag = "2")]
    pub(crate) mode: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct List {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) path: Vec<u8>,
    /// Names up to this one are left out; empty begins at the first.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) after: Vec<u8>,
    #[prost(uint32, tag = "3")]
    pub(crate) most: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MakeDirectory {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) path: Vec<u8>,
    #[prost(uint32, tag = "2")]
    pub(crate) mode: u32,
    #[prost(bool, tag = "3")]
    pub(crate) make_parents: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Move {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) source: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) target: Vec<u8>,
    #[prost(bool, tag = "3")]
    pub(crate) replace: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Remove {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) path: Vec<u8>,
    #[prost(bool, tag = "2")]
    pub(crate) recursive: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Watch {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) path: Vec<u8>,
    #[prost(bool, tag = "2")]
    pub(crate) recursive: bool,
}

/// What the runner says.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct FromRunner {
    #[prost(oneof = "Event", tags = "1, 2, 3")]
    pub(crate) event: Option<Event>,
}

/// Each kind of news.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Event {
    /// The first packet, once; the local listener is beside it.
    #[prost(message, tag = "1")]
    Hello(Hello),
    #[prost(message, tag = "2")]
    Answer(Answer),
    #[prost(message, tag = "3")]
    Exited(Exited),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Hello {
    /// Ways out of the sandbox that are open. None may be.
    #[prost(string, repeated, tag = "1")]
    pub(crate) open_ways: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Exited {
    /// The number of its launch.
    #[prost(uint64, tag = "1")]
    pub(crate) process: u64,
    /// The signal that ended it; zero when it exited.
    #[prost(int32, tag = "2")]
    pub(crate) signal: i32,
    #[prost(int32, tag = "3")]
    pub(crate) code: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Answer {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    #[prost(oneof = "Outcome", tags = "2, 3, 4, 5, 6, 7")]
    pub(crate) outcome: Option<Outcome>,
}

/// Each kind of answer.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Outcome {
    /// It was done; a file or connection that was asked for is beside this.
    #[prost(message, tag = "2")]
    Done(Nothing),
    /// It was not done.
    #[prost(message, tag = "3")]
    Failure(Failure),
    /// A process runs; its output, errors and input are beside this in that order, as far as it has them.
    #[prost(message, tag = "4")]
    Launched(Launched),
    /// Whether the process was still there.
    #[prost(bool, tag = "5")]
    Signalled(bool),
    #[prost(message, tag = "6")]
    Info(Info),
    #[prost(message, tag = "7")]
    Listing(Listing),
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Launched {
    #[prost(uint32, tag = "1")]
    pub(crate) pid: u32,
}

/// What is at a path, or the name of something in a directory.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Info {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) path: Vec<u8>,
    #[prost(enumeration = "Kind", tag = "2")]
    pub(crate) kind: i32,
    #[prost(uint64, tag = "3")]
    pub(crate) size: u64,
    #[prost(uint32, tag = "4")]
    pub(crate) mode: u32,
    #[prost(message, optional, tag = "5")]
    pub(crate) modified: Option<Time>,
    #[prost(message, optional, tag = "6")]
    pub(crate) changed: Option<Time>,
    #[prost(uint64, tag = "7")]
    pub(crate) inode: u64,
    #[prost(bytes = "vec", tag = "8")]
    pub(crate) link_target: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Time {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(uint32, tag = "2")]
    pub(crate) nanos: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Listing {
    #[prost(message, repeated, tag = "1")]
    pub(crate) entries: Vec<Info>,
    /// Whether names follow.
    #[prost(bool, tag = "2")]
    pub(crate) more: bool,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Kind {
    Special = 0,
    File = 1,
    Directory = 2,
    Symlink = 3,
}

/// Why something was not done.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Failure {
    #[prost(enumeration = "Why", tag = "1")]
    pub(crate) why: i32,
}

/// Each reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Why {
    /// The machine's own trouble.
    Io = 0,
    NotFound = 1,
    AlreadyExists = 2,
    Link = 3,
    Mount = 4,
    IsDirectory = 5,
    NotDirectory = 6,
    IsRoot = 7,
    Special = 8,
    NotEmpty = 9,
    TooDeep = 10,
    TooMany = 11,
    Denied = 12,
    NoSpace = 13,
    IntoItself = 14,
    /// The path cannot be one.
    BadPath = 15,
    ProgramMissing = 16,
    ProgramIsDirectory = 17,
    ProgramNotExecutable = 18,
    CwdMissing = 19,
    CwdNotDirectory = 20,
    TooLong = 21,
    /// The bound on processes, memory or descriptors is reached.
    Crowded = 22,
    /// The sandbox has no terminals.
    NoTerminal = 23,
    /// Nothing listens there.
    Refused = 24,
    /// Too much goes on at the same time.
    Busy = 25,
    /// What came is no message of this protocol.
    BadRequest = 26,
}

/// One frame of [`Request::Walk`]'s stream.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct WalkFrame {
    #[prost(oneof = "WalkPart", tags = "1, 2, 3")]
    pub(crate) part: Option<WalkPart>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum WalkPart {
    #[prost(message, tag = "1")]
    Entry(Info),
    /// What is in this directory cannot be seen, which is not the same as gone.
    #[prost(bytes = "vec", tag = "2")]
    Unknown(Vec<u8>),
    /// The last frame: how many devices, sockets and pipes were left out.
    #[prost(uint64, tag = "3")]
    Done(u64),
}

/// One frame of [`Request::Apply`]'s stream.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ApplyFrame {
    #[prost(oneof = "ApplyPart", tags = "1, 2, 3")]
    pub(crate) part: Option<ApplyPart>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum ApplyPart {
    /// Parents come first.
    #[prost(message, tag = "1")]
    Entry(Info),
    /// Bytes of the file that came last.
    #[prost(message, tag = "2")]
    Data(Data),
    /// The last frame; without it nothing counts.
    #[prost(message, tag = "3")]
    Done(Nothing),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Data {
    #[prost(uint64, tag = "1")]
    pub(crate) offset: u64,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) bytes: Vec<u8>,
}

/// One frame of [`Request::Watch`]'s stream.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct WatchFrame {
    /// Absent when changes were lost.
    #[prost(message, optional, tag = "1")]
    pub(crate) change: Option<Changed>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Changed {
    #[prost(enumeration = "Change", tag = "1")]
    pub(crate) change: i32,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) path: Vec<u8>,
}

/// What a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Change {
    Created = 0,
    Modified = 1,
    Removed = 2,
    Attributes = 3,
}

impl Outcome {
    /// That it was done.
    pub(crate) fn done() -> Self {
        Self::Done(Nothing {})
    }
}

impl From<Why> for Outcome {
    fn from(why: Why) -> Self {
        Self::Failure(Failure { why: why.into() })
    }
}

/// Sends what the runner says.
///
/// # Errors
/// What the kernel says.
pub(crate) fn tell(
    socket: impl AsFd,
    event: Event,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    packet::send(
        socket,
        &FromRunner { event: Some(event) }.encode_to_vec(),
        descriptors,
    )
}

/// Receives what the keeper asks; `None` when it is gone.
///
/// # Errors
/// `InvalidData` for what is no message of the protocol, else what the kernel says.
pub(crate) fn receive_request(
    socket: impl AsFd,
) -> io::Result<Option<(u64, Request, Vec<OwnedFd>)>> {
    let Some(packet) = packet::receive(socket)? else {
        return Ok(None);
    };
    let ToRunner { id, request } = ToRunner::decode(&*packet.bytes).map_err(|_| no_message())?;
    Ok(Some((
        id,
        request.ok_or_else(no_message)?,
        packet.descriptors,
    )))
}

/// Receives what the runner says; `None` when it is gone.
///
/// # Errors
/// `InvalidData` for what is no message of the protocol, else what the kernel says, `WouldBlock` included.
pub(crate) fn receive_event(socket: impl AsFd) -> io::Result<Option<(Event, Vec<OwnedFd>)>> {
    let Some(packet) = packet::receive(socket)? else {
        return Ok(None);
    };
    let FromRunner { event } = FromRunner::decode(&*packet.bytes).map_err(|_| no_message())?;
    Ok(Some((event.ok_or_else(no_message)?, packet.descriptors)))
}

/// A frame: its length in four bytes, big end first, and its message.
pub(crate) fn frame(message: &impl prost::Message) -> Vec<u8> {
    let length = message.encoded_len();
    let mut bytes = Vec::with_capacity(4 + length);
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    message.encode_raw(&mut bytes);
    bytes
}

/// How long the frame is whose first four bytes these are.
///
/// # Errors
/// `InvalidData` when it is longer than a frame may be.
pub(crate) fn frame_length(head: [u8; 4]) -> io::Result<usize> {
    let length = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
    if length > FRAME_MAX_BYTES {
        Err(no_message())
    } else {
        Ok(length)
    }
}

/// That what came is no message of the protocol.
pub(crate) fn no_message() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "what came is no message between keeper and runner",
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_that_are_no_message_are_refused_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
            let (ours, theirs) = packet::pair().expect("a pair");
            packet::send(&ours, &bytes, &[]).expect("sent");
            // Some bytes are a message; what matters is that each answer is one.
            match receive_event(&theirs) {
                Ok(Some(_)) => {}
                Ok(None) => prop_assert!(false, "nobody left"),
                Err(error) => prop_assert_eq!(error.kind(), io::ErrorKind::InvalidData),
            }
        }
    }

    #[test]
    fn a_frame_says_its_own_length_and_a_long_one_is_refused() {
        let bytes = frame(&ApplyFrame {
            part: Some(ApplyPart::Data(Data {
                offset: 7,
                bytes: vec![1; 1000],
            })),
        });
        let head: [u8; 4] = bytes[..4].try_into().expect("four bytes");
        assert_eq!(frame_length(head).expect("short"), bytes.len() - 4);
        assert!(frame_length([0xff; 4]).is_err());
    }

    #[test]
    fn the_largest_piece_of_a_file_fits_a_frame() {
        let data = Data {
            offset: u64::MAX,
            bytes: vec![0; PIECE_MAX_BYTES],
        };
        assert!(
            frame(&ApplyFrame {
                part: Some(ApplyPart::Data(data))
            })
            .len()
                <= FRAME_MAX_BYTES
        );
    }
}
