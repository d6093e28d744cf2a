//! Writing a manifest from its entries in order, a page at a time.

use prost::Message as _;

use super::Root;
use super::page::{
    BodyProto, ChildProto, ChildrenProto, EntriesProto, EntryProto, PAGE_MAX_BYTES, PiecesProto,
    encode, entry_to_proto, piece_to_proto,
};
use crate::{BlobName, Entry, NameKeys, Piece, PiecePage, Stored, TreePath};

/// One page in so many ends at any given path: about 128 entries of some 100 bytes a page.
const BOUNDARY: u8 = 128;
/// Pieces that stay within their entry: with the longest path and link they fit a page.
const INLINE_PIECES: usize = 512;
/// Pieces in a page of them: 1,024 of at most 48 bytes.
const PIECES_PER_PAGE: usize = 1024;
/// What a page's own fields take, at most.
const PAGE_OVERHEAD_BYTES: usize = 64;
/// What surrounds an item in a page, at most.
const ITEM_OVERHEAD_BYTES: usize = 8;

/// A page that must be stored before anything that refers to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its name.
    pub name: BlobName,
    /// Its bytes, at most [`PAGE_MAX_BYTES`].
    pub bytes: Vec<u8>,
}

/// Builds a manifest. Holds one unfinished page for each level.
#[derive(Debug)]
pub struct Builder {
    keys: NameKeys,
    entries: Level<EntryProto>,
    above: Vec<Level<ChildProto>>,
    last: TreePath,
    total: Totals,
}

#[derive(Debug)]
struct Level<T> {
    items: Vec<T>,
    size: usize,
    totals: Totals,
    closed: u64,
    /// The page ends before the next item. Not at once: what comes last in a manifest has nothing after it.
    ends: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    entries: u64,
    bytes: u64,
}

impl<T> Default for Level<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            size: PAGE_OVERHEAD_BYTES,
            totals: Totals::default(),
            closed: 0,
            ends: false,
        }
    }
}

impl<T> Level<T> {
    /// Whether an item of `size` bytes belongs to the next page.
    fn is_full(&self, size: usize) -> bool {
        self.ends || self.size + size > PAGE_MAX_BYTES
    }

    fn add(&mut self, item: T, size: usize, totals: Totals, ends: bool) {
        self.ends = ends;
        self.items.push(item);
        self.size += size;
        self.totals.entries += totals.entries;
        self.totals.bytes += totals.bytes;
    }

    fn take(&mut self) -> (Vec<T>, Totals) {
        self.size = PAGE_OVERHEAD_BYTES;
        self.closed += 1;
        self.ends = false;
        (
            std::mem::take(&mut self.items),
            std::mem::take(&mut self.totals),
        )
    }
}

impl Builder {
    /// An empty manifest of a tenant.
    pub fn new(keys: NameKeys) -> Self {
        Self {
            keys,
            entries: Level::default(),
            above: Vec::new(),
            last: TreePath::root(),
            total: Totals::default(),
        }
    }

    /// How many entries were added.
    pub fn entries(&self) -> u64 {
        self.total.entries
    }

    /// How many bytes the files have that were added.
    pub fn bytes(&self) -> u64 {
        self.total.bytes
    }

    /// Adds the next entry, and answers pages that are complete.
    ///
    /// Paths must ascend strictly; whoever merges entries has seen to that.
    pub fn push(&mut self, entry: Entry<Stored>) -> Vec<Page> {
        debug_assert!(entry.path > self.last, "entries are pushed in order");
        let totals = Totals {
            entries: 1,
            bytes: entry.size(),
        };
        self.total.entries += 1;
        self.total.bytes = self.total.bytes.saturating_add(totals.bytes);
        let ends_page = is_boundary(entry.path.as_bytes());
        self.last = entry.path.clone();
        let proto = entry_to_proto(entry);
        let size = proto.encoded_len() + ITEM_OVERHEAD_BYTES;
        let mut pages = Vec::new();
        if self.entries.is_full(size) {
            self.close_entries(&mut pages);
        }
        self.entries.add(proto, size, totals, ends_page);
        pages
    }

    /// Ends the manifest, and answers its last pages and what names it.
    pub fn finish(mut self) -> (Vec<Page>, Root) {
        let mut pages = Vec::new();
        self.close_entries(&mut pages);
        let mut closed_below = self.entries.closed;
        let mut level = 0;
        // The one page of a level is the root; the level above holds nothing but its reference.
        while closed_below > 1 {
            self.close_children(level, &mut pages);
            closed_below = self.above[level].closed;
            level += 1;
        }
        let name = pages_name(&self.above[level]);
        (
            pages,
            Root {
                name,
                entries: self.total.entries,
                bytes: self.total.bytes,
            },
        )
    }

    fn close_entries(&mut self, pages: &mut Vec<Page>) {
        let (entries, totals) = self.entries.take();
        let first_path = entries
            .first()
            .map(|entry| entry.path.clone())
            .unwrap_or_default();
        let body = BodyProto::Entries(EntriesProto { entries });
        self.refer(0, body, first_path, totals, pages);
    }

    fn close_children(&mut self, level: usize, pages: &mut Vec<Page>) {
        let (children, totals) = self.above[level].take();
        let first_path = children
            .first()
            .map(|child| child.first_path.clone())
            .unwrap_or_default();
        let number = u32::try_from(level + 1).unwrap_or(u32::MAX);
        let body = BodyProto::Children(ChildrenProto {
            level: number,
            children,
        });
        self.refer(level + 1, body, first_path, totals, pages);
    }

    /// Writes a page and refers to it from `level` of those above.
    fn refer(
        &mut self,
        level: usize,
        body: BodyProto,
        first_path: Vec<u8>,
        totals: Totals,
        pages: &mut Vec<Page>,
    ) {
        let page = page(&self.keys, body);
        let ends_page = is_boundary(page.name.as_bytes());
        let child = ChildProto {
            name: page.name.as_bytes().to_vec(),
            first_path,
            entries: totals.entries,
            bytes: totals.bytes,
        };
        pages.push(page);
        if self.above.len() == level {
            self.above.push(Level::default());
        }
        let size = child.encoded_len() + ITEM_OVERHEAD_BYTES;
        if self.above[level].is_full(size) {
            self.close_children(level, pages);
        }
        self.above[level].add(child, size, totals, ends_page);
    }
}

/// Cuts the pieces of a large file into pages; those of a small one stay with the entry.
pub fn page_pieces(keys: &NameKeys, pieces: Vec<Piece<BlobName>>) -> (Stored, Vec<Page>) {
    if pieces.len() <= INLINE_PIECES {
        return (Stored::Inline(pieces), Vec::new());
    }
    let mut pages = Vec::new();
    let mut references = Vec::new();
    for pieces in pieces.chunks(PIECES_PER_PAGE) {
        let length = pieces.iter().map(Piece::length).sum();
        let pieces = pieces.iter().map(piece_to_proto).collect();
        let page = page(keys, BodyProto::Pieces(PiecesProto { pieces }));
        references.push(PiecePage {
            name: page.name,
            length,
        });
        pages.push(page);
    }
    (Stored::Paged(references), pages)
}

fn page(keys: &NameKeys, body: BodyProto) -> Page {
    let bytes = encode(body);
    debug_assert!(
        bytes.len() <= PAGE_MAX_BYTES,
        "a page is closed before it is too long"
    );
    Page {
        name: keys.page(&bytes),
        bytes,
    }
}

/// Whether a page ends after the item that has this text, which depends on nothing around it.
fn is_boundary(text: &[u8]) -> bool {
    blake3::hash(text).as_bytes()[0].is_multiple_of(BOUNDARY)
}

fn pages_name(level: &Level<ChildProto>) -> BlobName {
    level
        .items
        .last()
        .and_then(|child| BlobName::parse("name", &child.name).ok())
        .expect("each page that is closed is referred to from the level above")
}
