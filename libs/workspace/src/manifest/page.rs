//! The bytes of a page: a protobuf message, whose encoding by prost is the same each time.

use prost::{Message, Oneof};

use crate::tree::Mtime;
use crate::{BlobName, Entry, Node, Piece, PiecePage, Stored, TreePath};

/// The longest page.
pub const PAGE_MAX_BYTES: usize = 64 * 1024;
/// The version of this format.
const FORMAT: u32 = 1;

/// Why bytes are not the page that was asked for: a damaged or foreign object, or a newer program's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// It cannot be read at all.
    #[error("the page cannot be read")]
    Unreadable,
    /// Its format is newer than this program.
    #[error("the page has format {0}, which this program does not know")]
    Format(u32),
    /// It is of another kind, or has another place in the tree, than the reference says.
    #[error("the page is not what refers to it says")]
    Mismatch,
    /// Its entries are not in strictly ascending order.
    #[error("the page is not sorted")]
    Unsorted,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PageProto {
    #[prost(uint32, tag = "1")]
    pub format: u32,
    #[prost(oneof = "BodyProto", tags = "2, 3, 4")]
    pub body: Option<BodyProto>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum BodyProto {
    #[prost(message, tag = "2")]
    Entries(EntriesProto),
    #[prost(message, tag = "3")]
    Children(ChildrenProto),
    #[prost(message, tag = "4")]
    Pieces(PiecesProto),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct EntriesProto {
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<EntryProto>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ChildrenProto {
    /// How far above the entries: 1 for the pages whose children hold entries.
    #[prost(uint32, tag = "1")]
    pub level: u32,
    #[prost(message, repeated, tag = "2")]
    pub children: Vec<ChildProto>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PiecesProto {
    #[prost(message, repeated, tag = "1")]
    pub pieces: Vec<PieceProto>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ChildProto {
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub first_path: Vec<u8>,
    #[prost(uint64, tag = "3")]
    pub entries: u64,
    #[prost(uint64, tag = "4")]
    pub bytes: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct EntryProto {
    #[prost(bytes = "vec", tag = "1")]
    pub path: Vec<u8>,
    /// 1 file, 2 directory, 3 symbolic link.
    #[prost(uint32, tag = "2")]
    pub kind: u32,
    #[prost(uint32, tag = "3")]
    pub mode: u32,
    #[prost(sint64, tag = "4")]
    pub mtime_seconds: i64,
    #[prost(uint32, tag = "5")]
    pub mtime_nanos: u32,
    #[prost(uint64, tag = "6")]
    pub size: u64,
    #[prost(bytes = "vec", tag = "7")]
    pub link_target: Vec<u8>,
    #[prost(message, repeated, tag = "8")]
    pub pieces: Vec<PieceProto>,
    /// Instead of `pieces`, for large files: pages of them.
    #[prost(message, repeated, tag = "9")]
    pub pages: Vec<PieceProto>,
}

/// A piece, or a page of pieces: without a name, a hole.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PieceProto {
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub length: u64,
}

const FILE: u32 = 1;
const DIRECTORY: u32 = 2;
const SYMLINK: u32 = 3;

pub(super) fn encode(body: BodyProto) -> Vec<u8> {
    PageProto {
        format: FORMAT,
        body: Some(body),
    }
    .encode_to_vec()
}

pub(super) fn decode(bytes: &[u8]) -> Result<BodyProto, PageError> {
    if bytes.len() > PAGE_MAX_BYTES {
        return Err(PageError::Unreadable);
    }
    let page = PageProto::decode(bytes).map_err(|_| PageError::Unreadable)?;
    if page.format != FORMAT {
        return Err(PageError::Format(page.format));
    }
    page.body.ok_or(PageError::Unreadable)
}

/// The pieces in a page of them.
///
/// # Errors
/// When it is no such page, or covers another length than `page` says.
pub fn decode_pieces(page: &PiecePage, bytes: &[u8]) -> Result<Vec<Piece<BlobName>>, PageError> {
    let pieces = match decode(bytes)? {
        BodyProto::Pieces(pieces) => pieces.pieces,
        BodyProto::Entries(_) | BodyProto::Children(_) => return Err(PageError::Mismatch),
    };
    let pieces = pieces
        .into_iter()
        .map(piece_from_proto)
        .collect::<Result<Vec<_>, _>>()?;
    let mut covered = 0_u64;
    for piece in &pieces {
        covered = covered
            .checked_add(piece.length())
            .ok_or(PageError::Mismatch)?;
    }
    if covered == page.length {
        Ok(pieces)
    } else {
        Err(PageError::Mismatch)
    }
}

pub(super) fn entry_to_proto(entry: Entry<Stored>) -> EntryProto {
    let Entry {
        path,
        mode,
        mtime,
        node,
    } = entry;
    let mut proto = EntryProto {
        path: path.into_bytes(),
        mode,
        mtime_seconds: mtime.seconds,
        mtime_nanos: mtime.nanos,
        ..EntryProto::default()
    };
    match node {
        Node::File { size, content } => {
            proto.kind = FILE;
            proto.size = size;
            match content {
                Stored::Inline(pieces) => {
                    proto.pieces = pieces.iter().map(piece_to_proto).collect()
                }
                Stored::Paged(pages) => {
                    let page = |page: &PiecePage| PieceProto {
                        name: page.name.as_bytes().to_vec(),
                        length: page.length,
                    };
                    proto.pages = pages.iter().map(page).collect();
                }
            }
        }
        Node::Directory => proto.kind = DIRECTORY,
        Node::Symlink { target } => {
            proto.kind = SYMLINK;
            proto.link_target = target;
        }
    }
    proto
}

pub(super) fn entry_from_proto(proto: EntryProto) -> Result<Entry<Stored>, PageError> {
    let EntryProto {
        path,
        kind,
        mode,
        mtime_seconds,
        mtime_nanos,
        size,
        link_target,
        pieces,
        pages,
    } = proto;
    let path = TreePath::parse("path", &path).map_err(|_| PageError::Unreadable)?;
    let node = match kind {
        FILE => Node::File {
            size,
            content: content_from_proto(size, pieces, pages)?,
        },
        DIRECTORY => Node::Directory,
        SYMLINK => Node::Symlink {
            target: link_target,
        },
        _unknown => return Err(PageError::Unreadable),
    };
    Ok(Entry {
        path,
        mode,
        mtime: Mtime {
            seconds: mtime_seconds,
            nanos: mtime_nanos,
        },
        node,
    })
}

fn content_from_proto(
    size: u64,
    pieces: Vec<PieceProto>,
    pages: Vec<PieceProto>,
) -> Result<Stored, PageError> {
    let mut covered = 0_u64;
    for part in pieces.iter().chain(&pages) {
        covered = covered
            .checked_add(part.length)
            .ok_or(PageError::Unreadable)?;
    }
    if covered != size || !(pieces.is_empty() || pages.is_empty()) {
        return Err(PageError::Unreadable);
    }
    if pages.is_empty() {
        return Ok(Stored::Inline(
            pieces
                .into_iter()
                .map(piece_from_proto)
                .collect::<Result<_, _>>()?,
        ));
    }
    let page = |page: PieceProto| {
        let name = BlobName::parse("name", &page.name).map_err(|_| PageError::Unreadable)?;
        Ok(PiecePage {
            name,
            length: page.length,
        })
    };
    Ok(Stored::Paged(
        pages.into_iter().map(page).collect::<Result<_, _>>()?,
    ))
}

pub(super) fn piece_to_proto(piece: &Piece<BlobName>) -> PieceProto {
    let name = match piece {
        Piece::Hole(_) => Vec::new(),
        Piece::Chunk { name, .. } => name.as_bytes().to_vec(),
    };
    PieceProto {
        name,
        length: piece.length(),
    }
}

fn piece_from_proto(proto: PieceProto) -> Result<Piece<BlobName>, PageError> {
    let PieceProto { name, length } = proto;
    if length == 0 {
        return Err(PageError::Unreadable);
    }
    if name.is_empty() {
        return Ok(Piece::Hole(length));
    }
    let name = BlobName::parse("name", &name).map_err(|_| PageError::Unreadable)?;
    let length = u32::try_from(length).map_err(|_| PageError::Unreadable)?;
    Ok(Piece::Chunk { name, length })
}
