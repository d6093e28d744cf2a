//! What the keeper asks.

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
