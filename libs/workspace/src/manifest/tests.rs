//! The manifest as a whole: what is built is read, shared, refused.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;
use crate::tree::Mtime;
use crate::{ContentHash, Entry, NameKeys, Node, Piece, Stored, TreePath};

type Pages = HashMap<BlobName, Vec<u8>>;

fn keys() -> NameKeys {
    NameKeys::derive(&[7; 32])
}

fn path(text: &str) -> TreePath {
    TreePath::parse("path", text.as_bytes()).expect("valid")
}

fn entry(path: TreePath, node: Node<Stored>) -> Entry<Stored> {
    Entry {
        path,
        mode: 0o644,
        mtime: Mtime {
            seconds: 1,
            nanos: 2,
        },
        node,
    }
}

fn file(text: &str) -> Entry<Stored> {
    let name = keys().chunk(&ContentHash::of(text.as_bytes()));
    let content = Stored::Inline(vec![Piece::Chunk { name, length: 9 }, Piece::Hole(1)]);
    entry(path(text), Node::File { size: 10, content })
}

fn directory(text: &str) -> Entry<Stored> {
    entry(path(text), Node::Directory)
}

fn build(entries: &[Entry<Stored>]) -> (Pages, Root) {
    let mut builder = Builder::new(keys());
    let mut pages: Vec<Page> = entries
        .iter()
        .flat_map(|entry| builder.push(entry.clone()))
        .collect();
    let (last, root) = builder.finish();
    pages.extend(last);
    (
        pages
            .into_iter()
            .map(|page| (page.name, page.bytes))
            .collect(),
        root,
    )
}

fn read(pages: &Pages, mut cursor: Cursor) -> Result<Vec<Entry<Stored>>, PageError> {
    let mut entries = Vec::new();
    loop {
        match cursor.step()? {
            Step::Page(name) => cursor.feed(&pages[&name])?,
            Step::Entry(entry) => entries.push(*entry),
            Step::End => return Ok(entries),
        }
    }
}

fn many(count: usize) -> Vec<Entry<Stored>> {
    (0..count)
        .map(|number| file(&format!("{number:08}")))
        .collect()
}

#[test]
fn a_manifest_is_that_of_the_stored_vector() {
    let link = entry(
        path("z"),
        Node::Symlink {
            target: b"a/b".to_vec(),
        },
    );
    let (pages, root) = build(&[directory("a"), file("a/b"), link]);
    assert_eq!(
        root.name.to_string(),
        "54fa9260868ba11d456f1fc39a4809a70a138dce987a347ed87bf0714b381ed6"
    );
    assert_eq!((root.entries, root.bytes), (3, 10));
    let (_, empty) = build(&[]);
    assert_eq!(
        empty.name.to_string(),
        "1871025482e7ba0dceeac9b76623feae6c7fc3da5d1f1938d434304cd241aca2"
    );
    assert_eq!(read(&pages, Cursor::new(&root)).expect("own").len(), 3);
}

#[test]
fn a_large_directory_is_split_and_read_back_from_any_path() {
    let entries = many(20_000);
    let (pages, root) = build(&entries);
    assert!(pages.values().all(|page| page.len() <= PAGE_MAX_BYTES));
    assert_eq!(read(&pages, Cursor::new(&root)).expect("whole"), entries);
    for from in [0, 1, 777, 19_999] {
        let cursor = Cursor::from(&root, format!("{from:08}").into_bytes());
        assert_eq!(
            read(&pages, cursor).expect("rest"),
            entries[from..],
            "{from}"
        );
    }
    assert!(
        read(&pages, Cursor::from(&root, b"1".to_vec()))
            .expect("none")
            .is_empty()
    );
}

#[test]
fn seeking_reads_one_page_of_each_level() {
    let (pages, root) = build(&many(20_000));
    let mut cursor = Cursor::from(&root, b"00010000".to_vec());
    let mut fetched = 0;
    while let Step::Page(name) = cursor.step().expect("step") {
        cursor.feed(&pages[&name]).expect("page");
        fetched += 1;
    }
    assert!(fetched <= 4, "{fetched} pages for one entry");
}

#[test]
fn a_change_shares_all_pages_but_those_around_it() {
    let mut entries = many(20_000);
    let (before, _) = build(&entries);
    entries.insert(100, file("00000099-inserted"));
    let (after, _) = build(&entries);
    let new = after
        .keys()
        .filter(|name| !before.contains_key(*name))
        .count();
    assert!(new <= 6, "{new} of {} pages are new", after.len());
}

#[test]
fn the_pieces_of_a_large_file_have_pages_of_their_own() {
    let pieces: Vec<_> = (0..5000_u32)
        .map(|number| Piece::Chunk {
            name: keys().chunk(&ContentHash::of(&number.to_le_bytes())),
            length: 1 + number,
        })
        .collect();
    let (stored, pages) = page_pieces(&keys(), pieces.clone());
    let Stored::Paged(references) = &stored else {
        panic!("too many to stay inline")
    };
    let mut read = Vec::new();
    for (reference, page) in references.iter().zip(&pages) {
        assert_eq!(reference.name, page.name);
        assert!(page.bytes.len() <= PAGE_MAX_BYTES);
        read.extend(decode_pieces(reference, &page.bytes).expect("own page"));
        let lying = crate::PiecePage {
            length: reference.length + 1,
            ..*reference
        };
        assert_eq!(decode_pieces(&lying, &page.bytes), Err(PageError::Mismatch));
    }
    assert_eq!(read, pieces);
}

#[test]
fn a_page_in_the_place_of_another_is_refused() {
    let (pages, root) = build(&many(2_000));
    let leaf = |number: usize| {
        let mut cursor = Cursor::new(&root);
        let mut leaves = Vec::new();
        loop {
            match cursor.step().expect("step") {
                Step::Page(name) => {
                    cursor.feed(&pages[&name]).expect("page");
                    leaves.push(name);
                }
                Step::Entry(_) => {}
                Step::End => return leaves[number],
            }
        }
    };
    let mut swapped = pages.clone();
    swapped.insert(leaf(1), pages[&leaf(2)].clone());
    assert_eq!(read(&swapped, Cursor::new(&root)), Err(PageError::Mismatch));
    let lying = Root {
        entries: root.entries + 1,
        ..root
    };
    assert_eq!(read(&pages, Cursor::new(&lying)), Err(PageError::Mismatch));
}

/// What [`Merge`] is to compute, over a map and without order.
fn apply(
    parent: &BTreeMap<TreePath, bool>,
    changes: &BTreeMap<TreePath, Option<bool>>,
) -> Option<BTreeSet<TreePath>> {
    let gone = |path: &TreePath| {
        changes
            .iter()
            .any(|(at, change)| *change != Some(true) && path.is_below(at))
    };
    let mut now: BTreeMap<TreePath, bool> = parent
        .iter()
        .filter(|(path, _)| !changes.contains_key(*path) && !gone(path))
        .map(|(path, is_directory)| (path.clone(), *is_directory))
        .collect();
    now.extend(
        changes
            .iter()
            .filter_map(|(path, change)| Some((path.clone(), (*change)?))),
    );
    let held = |path: &TreePath| {
        path.parent()
            .is_none_or(|parent| parent.is_root() || now.get(&parent) == Some(&true))
    };
    now.keys().all(held).then(|| now.keys().cloned().collect())
}

fn merge(
    parent: &BTreeMap<TreePath, bool>,
    changes: &BTreeMap<TreePath, Option<bool>>,
) -> Option<BTreeSet<TreePath>> {
    let mut merge = Merge::new();
    let mut now = BTreeSet::new();
    let of = |path: &TreePath, is_directory: bool| {
        let node = if is_directory {
            Node::Directory
        } else {
            Node::Symlink {
                target: b"x".to_vec(),
            }
        };
        entry(path.clone(), node)
    };
    let paths: BTreeSet<_> = parent.keys().chain(changes.keys()).collect();
    for path in paths {
        match (changes.get(path), parent.get(path)) {
            (Some(Some(is_directory)), _) => {
                merge.upserts(&of(path, *is_directory)).ok()?;
                now.insert(path.clone());
            }
            (Some(None), _) => merge.removes(path),
            (None, Some(is_directory)) => {
                if merge.keeps(&of(path, *is_directory)) {
                    now.insert(path.clone());
                }
            }
            (None, None) => {}
        }
    }
    Some(now)
}

fn paths() -> impl Strategy<Value = TreePath> {
    // `-` sorts before `/` and `0` after it, which is where an order by bytes surprises.
    proptest::string::string_regex("[a-]{1,2}(/[a0-]{1,2}){0,2}")
        .expect("regex")
        .prop_map(|text| path(&text))
}

fn trees() -> impl Strategy<Value = BTreeMap<TreePath, bool>> {
    proptest::collection::btree_map(paths(), any::<bool>(), 0..12).prop_map(|mut tree| {
        for path in tree.keys().cloned().collect::<Vec<_>>() {
            tree.extend(path.ancestors().map(|above| (above, true)));
        }
        tree
    })
}

proptest! {
    #[test]
    fn merging_in_one_pass_is_applying_the_changes(
        parent in trees(), changes in proptest::collection::btree_map(paths(), any::<Option<bool>>(), 0..8),
    ) {
        prop_assert_eq!(merge(&parent, &changes), apply(&parent, &changes));
    }

    #[test]
    fn whatever_is_built_is_read_back(tree in trees()) {
        let entries: Vec<_> = tree.keys().map(|path| entry(path.clone(), Node::Directory)).collect();
        let (pages, root) = build(&entries);
        prop_assert_eq!(read(&pages, Cursor::new(&root)), Ok(entries));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (_, root) = build(&[]);
        let mut cursor = Cursor::new(&root);
        let _either = cursor.feed(&bytes);
    }
}
