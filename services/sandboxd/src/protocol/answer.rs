//! What the runner says.

use std::fmt;

use super::Nothing;

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

/// For a log, or a report to whoever asked for the sandbox as a whole.
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Io => "the machine's own trouble",
            Self::NotFound => "nothing is at the path",
            Self::AlreadyExists => "something is at the path already",
            Self::Link => "the path leads through a symbolic link",
            Self::Mount => "the path leads into another file system",
            Self::IsDirectory => "it is a directory",
            Self::NotDirectory => "the path leads through what is no directory",
            Self::IsRoot => "it is the workspace itself",
            Self::Special => "it is a device, socket or pipe",
            Self::NotEmpty => "the directory is not empty",
            Self::TooDeep => "the tree is nested too deeply",
            Self::TooMany => "there are more entries than can be handled",
            Self::Denied => "the file's own permissions forbid it",
            Self::NoSpace => "/workspace is full",
            Self::IntoItself => "the target lies in what is moved",
            Self::BadPath => "the path cannot be one",
            Self::ProgramMissing => "the program does not exist",
            Self::ProgramIsDirectory => "the program is a directory",
            Self::ProgramNotExecutable => "the program cannot be executed",
            Self::CwdMissing => "the working directory does not exist",
            Self::CwdNotDirectory => "the working directory is none",
            Self::TooLong => "arguments and environment are too long",
            Self::Crowded => "there is no room for another process or file",
            Self::NoTerminal => "the sandbox has no terminals",
            Self::Refused => "nothing listens at the port",
            Self::Busy => "too many transfers are on their way",
            Self::BadRequest => "the request cannot be understood",
        })
    }
}
