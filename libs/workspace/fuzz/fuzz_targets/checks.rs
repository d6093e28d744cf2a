//! What holds for any bytes whatever, one function for each reader that is written by hand.
//!
//! `tests/any_bytes.rs` calls them with random bytes at each run of the tests, and the targets beside this file
//! with those that a fuzzer finds.

use prost::Message as _;
use sandgate_api::storage::v1 as pb;
use sandgate_workspace::manifest::{Builder, Cursor, PAGE_MAX_BYTES, Root, Step, decode_pieces};
use sandgate_workspace::{
    BlobName, DEPTH_MAX, Entry, NAME_MAX_BYTES, NameKeys, Node, PATH_MAX_BYTES, Piece, PiecePage,
    Stored, TreePath, blob,
};

/// A path is refused, or has only plain components.
pub(crate) fn path(bytes: &[u8]) {
    let Ok(path) = TreePath::parse("path", bytes) else {
        return;
    };
    assert_eq!(path.as_bytes(), bytes);
    assert!(bytes.len() <= PATH_MAX_BYTES && path.depth() <= DEPTH_MAX);
    for name in bytes.split(|byte| *byte == b'/') {
        assert!(!matches!(name, b"" | b"." | b".."));
        assert!(name.len() <= NAME_MAX_BYTES && !name.contains(&0));
    }
}

/// A blob is refused, or its content is within its bound and makes a blob again.
pub(crate) fn blob(bytes: &[u8]) {
    if let Ok(content) = blob::decode(bytes) {
        let claimed = bytes[12..16].try_into().expect("four bytes");
        assert_eq!(
            usize::try_from(u32::from_le_bytes(claimed)),
            Ok(content.len())
        );
        assert!(content.len() <= blob::CONTENT_MAX_BYTES);
        let again = blob::encode(&content).expect("within the bound");
        assert_eq!(blob::decode(&again).expect("our own"), content);
    }
}

/// An entry of the wire is refused, or says the same when it goes back and comes again.
pub(crate) fn entry(bytes: &[u8]) {
    if let Ok(wire) = pb::Entry::decode(bytes) {
        wire_entry(wire);
    }
}

/// As [`entry`], behind the decoder.
pub(crate) fn wire_entry(wire: pb::Entry) {
    if let Ok(entry) = Entry::from_wire(wire) {
        if let Node::File { size, content } = &entry.node {
            assert_eq!(content.iter().map(Piece::length).sum::<u64>(), *size);
        }
        let again = Entry::from_wire(entry.to_wire()).expect("our own");
        assert_eq!(again, entry);
    }
}

/// Pages in the place of a manifest's are refused, or give entries in order, and as many as are claimed. The first byte
/// says where the second of two pages begins.
pub(crate) fn page(bytes: &[u8]) {
    let Some((at, bytes)) = bytes.split_first() else {
        return;
    };
    let (first, second) = bytes.split_at(bytes.len() * usize::from(*at) / 255);
    for entries in 0..4 {
        let (_, root) = Builder::new(NameKeys::derive(&[7; 32])).finish();
        pages_of(&[first, second], &Root { entries, ..root });
    }
}

/// As [`page`], of a manifest that is known.
pub(crate) fn pages_of(pages: &[&[u8]], root: &Root) {
    let mut cursor = Cursor::new(root);
    let mut last: Option<TreePath> = None;
    let (mut seen, mut pages) = (0, pages.iter());
    loop {
        match cursor.step() {
            Ok(Step::Page(_)) => {
                // Whatever else it refers to is not there.
                let Some(bytes) = pages.next() else { return };
                if cursor.feed(bytes).is_err() {
                    return;
                }
                assert!(bytes.len() <= PAGE_MAX_BYTES);
            }
            Ok(Step::Entry(entry)) => {
                assert!(last.is_none_or(|last| last < entry.path));
                if let Node::File { size, content } = &entry.node {
                    assert!(covers(content, *size));
                }
                last = Some(entry.path);
                seen += 1;
            }
            Ok(Step::End) => {
                assert_eq!(seen, root.entries);
                return;
            }
            Err(_) => return,
        }
    }
}

fn covers(content: &Stored, size: u64) -> bool {
    let lengths: Vec<u64> = match content {
        Stored::Inline(pieces) => pieces.iter().map(Piece::length).collect(),
        Stored::Paged(pages) => pages.iter().map(|page| page.length).collect(),
    };
    lengths.iter().sum::<u64>() == size
}

/// A page of pieces is refused, or covers exactly what is claimed.
pub(crate) fn pieces(bytes: &[u8]) {
    let Some((claimed, bytes)) = bytes.split_at_checked(8) else {
        return;
    };
    let name = BlobName::parse("name", &[1; 32]).expect("32 bytes");
    let length = u64::from_le_bytes(claimed.try_into().expect("8 bytes"));
    if let Ok(pieces) = decode_pieces(&PiecePage { name, length }, bytes) {
        let covered: u64 = pieces.iter().map(Piece::length).sum();
        assert_eq!(covered, length);
    }
}
