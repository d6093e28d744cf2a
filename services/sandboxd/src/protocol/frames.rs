//! What streams between keeper and runner carry, frame by frame.

use super::{Info, Nothing};

/// One frame of [`super::Request::Walk`]'s stream.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct WalkFrame {
    #[prost(oneof = "WalkPart", tags = "1, 2, 3, 4")]
    pub(crate) part: Option<WalkPart>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum WalkPart {
    #[prost(message, tag = "1")]
    Entry(Info),
    /// What is in this directory cannot be seen, which is not the same as gone.
    #[prost(bytes = "vec", tag = "2")]
    Unknown(Vec<u8>),
    /// The last frame; without it nothing is known to be gone.
    #[prost(message, tag = "3")]
    Done(Nothing),
    /// What is at this path is not stored.
    #[prost(bytes = "vec", tag = "4")]
    LeftOut(Vec<u8>),
}

/// One frame of [`super::Request::Apply`]'s stream.
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

/// One frame of [`super::Request::Watch`]'s stream.
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
