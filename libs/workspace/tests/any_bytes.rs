//! No bytes, however they came, make a reader of this crate panic or answer what cannot be.

#[path = "../fuzz/fuzz_targets/checks.rs"]
mod checks;

use proptest::collection::vec;
use proptest::prelude::*;
use sandgate_api::storage::v1 as pb;
use sandgate_workspace::manifest::{Builder, Cursor, Page, PageError, Root, page_pieces};
use sandgate_workspace::tree::Mtime;
use sandgate_workspace::{
    BlobName, Entry, NameKeys, Node, Piece, PiecePage, Stored, TreePath, blob,
};

/// Mostly what `good` gives, so that the rules behind the first one are reached too.
fn mostly<T: std::fmt::Debug>(
    good: impl Strategy<Value = T>,
    any: impl Strategy<Value = T>,
) -> impl Strategy<Value = T> {
    prop_oneof![8 => good, 1 => any]
}

/// Small numbers, those at a limit, and any.
fn number() -> impl Strategy<Value = u64> {
    let odd = prop_oneof![
        Just(0),
        Just(262_144),
        Just(262_145),
        Just(8 << 40),
        Just(u64::MAX),
        any::<u64>()
    ];
    mostly(1..300_u64, odd)
}

/// Bytes of a length that a hash has, or nearly.
fn hash() -> impl Strategy<Value = Vec<u8>> {
    let good = prop_oneof![Just(Vec::new()), vec(any::<u8>(), 32)];
    mostly(good, vec(any::<u8>(), 31..34))
}

prop_compose! {
    fn chunk()(hash in hash(), length in number()) -> pb::ChunkRef {
        pb::ChunkRef { hash, length }
    }
}

prop_compose! {
    fn wire_entry()(
        path in mostly("[a-c](/[a-c]){0,3}", "[a./\\x00]{0,6}"),
        kind in mostly(Just(1), -1..5), link in mostly("", "[a/\\x00]{0,3}"),
        mode in mostly(0..0o1000_u32, any::<u32>()), mtime_seconds in any::<i64>(),
        mtime_nanos in mostly(0..1_000_000_000_u32, any::<u32>()),
        chunks in vec(chunk(), 0..4), size in mostly(Just(None), number().prop_map(Some)),
    ) -> pb::Entry {
        let sum = chunks.iter().fold(0_u64, |sum, chunk| sum.saturating_add(chunk.length));
        pb::Entry {
            path: path.into_bytes(), kind, mode, mtime_seconds, mtime_nanos,
            size: size.unwrap_or(sum), chunks, link_target: link.into_bytes(),
        }
    }
}

/// Where bytes are changed and to what, mostly near the beginning; and how many at the end are cut off.
fn damage() -> impl Strategy<Value = (Vec<(usize, u8)>, usize)> {
    let at = prop_oneof![0..60_usize, 0..100_000_usize];
    (vec((at, any::<u8>()), 0..4), mostly(Just(0), 0..8_usize))
}

/// A manifest of a file, a directory and a link, in its one page.
fn known() -> (Root, Page) {
    let name = BlobName::parse("name", &[1; 32]).expect("32 bytes");
    let content = Stored::Inline(vec![Piece::Chunk { name, length: 9 }, Piece::Hole(1)]);
    let nodes = [
        ("a", Node::Directory),
        ("a/b", Node::File { size: 10, content }),
        (
            "z",
            Node::Symlink {
                target: b"a".to_vec(),
            },
        ),
    ];
    let mut builder = Builder::new(NameKeys::derive(&[7; 32]));
    for (path, node) in nodes {
        let entry = Entry {
            path: TreePath::parse("path", path.as_bytes()).expect("valid"),
            mode: 0o644,
            mtime: Mtime::default(),
            node,
        };
        assert!(builder.push(entry).is_empty(), "all fits one page");
    }
    let (mut pages, root) = builder.finish();
    (root, pages.pop().expect("a page"))
}

/// A page of pieces, behind the length that it covers.
fn known_pieces() -> Vec<u8> {
    let name = BlobName::parse("name", &[1; 32]).expect("32 bytes");
    let pieces = (0..2000).map(|_| Piece::Chunk { name, length: 9 });
    let (stored, pages) = page_pieces(&NameKeys::derive(&[7; 32]), pieces.collect());
    let Stored::Paged(references) = stored else {
        panic!("so many pieces have pages")
    };
    let PiecePage { length, .. } = references[0];
    [&length.to_le_bytes()[..], &pages[0].bytes].concat()
}

/// `bytes` with that damage.
fn damaged(mut bytes: Vec<u8>, (changes, cut): &(Vec<(usize, u8)>, usize)) -> Vec<u8> {
    let length = bytes.len();
    for (at, byte) in changes {
        bytes[at % length] = *byte;
    }
    bytes.truncate(length - cut);
    bytes
}

proptest! {
    #[test]
    fn any_bytes_at_all(bytes in vec(any::<u8>(), 0..400)) {
        checks::path(&bytes);
        checks::blob(&bytes);
        checks::entry(&bytes);
        checks::page(&bytes);
        checks::pieces(&bytes);
    }

    #[test]
    fn any_path_of_the_bytes_that_matter(text in "[a./\\x00]{0,12}") {
        checks::path(text.as_bytes());
    }

    #[test]
    fn any_entry_of_the_wire(wire in wire_entry()) {
        checks::wire_entry(wire);
    }

    #[test]
    fn any_damage_to_a_page(damage in damage()) {
        let (root, page) = known();
        checks::pages_of(&[&damaged(page.bytes, &damage)], &root);
    }

    #[test]
    fn any_damage_to_a_page_of_pieces(damage in damage()) {
        checks::pieces(&damaged(known_pieces(), &damage));
    }

    #[test]
    fn any_damage_to_a_blob(content in vec(0..3_u8, 0..500), damage in damage()) {
        checks::blob(&damaged(blob::encode(&content).expect("short"), &damage));
    }
}

#[test]
fn what_is_damaged_was_good() {
    let (root, page) = known();
    assert_eq!(root.name, page.name);
    checks::pages_of(&[&page.bytes], &root);
    checks::pieces(&known_pieces());
}

/// A page above others at `level`, with one page of one entry below it.
fn above(level: &[u8]) -> Vec<u8> {
    let child = [&[0x0a, 32][..], &[1; 32], &[0x12, 1, b'a', 0x18, 1]].concat();
    let length = u8::try_from(level.len() + 3 + child.len()).expect("short");
    let lengths = [0x12, u8::try_from(child.len()).expect("short")];
    [&[8, 1, 0x1a, length, 8][..], level, &lengths, &child].concat()
}

#[test]
fn a_page_of_the_highest_level_below_another_is_refused() {
    let (root, _) = known();
    let (entries, bytes) = (1, 0);
    let mut cursor = Cursor::new(&Root {
        entries,
        bytes,
        ..root
    });
    cursor.step().expect("the first page is asked for");
    cursor.feed(&above(&[2])).expect("a page of pages");
    cursor.step().expect("the page below it is asked for");
    let highest = above(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert_eq!(cursor.feed(&highest), Err(PageError::Mismatch));
}
