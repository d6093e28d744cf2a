//! What a walk finds, against what is stored.

use proptest::prelude::*;

use super::*;

fn file(size: u64, changed: i64) -> Fingerprint {
    let time = FileTime {
        seconds: changed,
        nanos: 0,
    };
    Fingerprint {
        kind: Kind::File,
        mode: 0o644,
        size,
        inode: 1,
        modified: time,
        changed: time,
    }
}

fn at(seconds: i64) -> FileTime {
    FileTime { seconds, nanos: 0 }
}

fn differences(snapshot: &mut Snapshot, tree: &[(&[u8], Fingerprint)]) -> Differences {
    let mut walk = snapshot.walk();
    for (path, fingerprint) in tree {
        walk.see(path, *fingerprint).expect("few entries");
    }
    walk.finish()
}

#[test]
fn a_file_that_was_stored_and_rested_is_not_read_again() {
    let mut snapshot = Snapshot::default();
    snapshot.stored(Box::from(&b"a"[..]), file(1, 100), at(200));
    assert_eq!(
        differences(&mut snapshot, &[(b"a", file(1, 100))]),
        Differences::default()
    );
}

#[test]
fn a_file_that_was_read_right_after_its_change_is_read_again() {
    let mut snapshot = Snapshot::default();
    snapshot.stored(Box::from(&b"a"[..]), file(1, 100), at(101));
    assert_eq!(
        differences(&mut snapshot, &[(b"a", file(1, 100))])
            .changed
            .len(),
        1
    );
}

#[test]
fn a_modification_time_that_was_set_back_does_not_hide_a_change() {
    let mut snapshot = Snapshot::default();
    snapshot.stored(Box::from(&b"a"[..]), file(1, 100), at(200));
    let mut disguised = file(1, 100);
    disguised.changed = at(150);
    assert_eq!(
        differences(&mut snapshot, &[(b"a", disguised)])
            .changed
            .len(),
        1
    );
}

#[test]
fn a_directory_goes_with_all_below_it_in_one_removal() {
    let mut snapshot = Snapshot::default();
    for path in ["d", "d-x", "d/a", "d/b/c"] {
        snapshot.stored(Box::from(path.as_bytes()), file(1, 1), at(100));
    }
    let found = differences(&mut snapshot, &[(b"d-x", file(1, 1))]);
    assert_eq!(found.removed, vec![Box::from(&b"d"[..])]);
    snapshot.removed(b"d");
    assert_eq!(snapshot.entries.len(), 1);
}

#[test]
fn a_file_in_the_place_of_a_directory_removes_what_was_below() {
    let mut snapshot = Snapshot::default();
    let mut directory = file(0, 1);
    directory.kind = Kind::Directory;
    snapshot.stored(Box::from(&b"d"[..]), directory, at(100));
    snapshot.stored(Box::from(&b"d/a"[..]), file(1, 1), at(100));
    let found = differences(&mut snapshot, &[(b"d", file(3, 50))]);
    assert_eq!(found.changed.len(), 1);
    assert_eq!(found.removed, vec![Box::from(&b"d/a"[..])]);
}

#[test]
fn what_cannot_be_seen_does_not_count_as_gone() {
    let mut snapshot = Snapshot::default();
    for path in ["d/a", "d/b", "e"] {
        snapshot.stored(Box::from(path.as_bytes()), file(1, 1), at(100));
    }
    let mut walk = snapshot.walk();
    walk.is_unknown_below(b"d");
    assert_eq!(walk.finish().removed, vec![Box::from(&b"e"[..])]);
}

#[test]
fn what_was_not_acknowledged_is_found_again() {
    let mut snapshot = Snapshot::default();
    let first = differences(&mut snapshot, &[(b"a", file(1, 1))]);
    assert_eq!(differences(&mut snapshot, &[(b"a", file(1, 1))]), first);
}

proptest! {
    #[test]
    fn storing_the_differences_makes_the_snapshot_the_tree(
        trees in proptest::collection::vec(proptest::collection::btree_map("[ab]/?[ab-]?/?c?", (0u64..3, 0i64..3), 0..12), 1..6)
    ) {
        let mut snapshot = Snapshot::default();
        for tree in trees {
            let tree: Vec<(Vec<u8>, Fingerprint)> =
                tree.into_iter().map(|(path, (size, changed))| (path.into_bytes(), file(size, changed))).collect();
            let shown: Vec<(&[u8], Fingerprint)> = tree.iter().map(|(path, print)| (path.as_slice(), *print)).collect();
            let found = differences(&mut snapshot, &shown);
            prop_assert!(found.changed.windows(2).all(|pair| pair[0].path < pair[1].path));
            for path in &found.removed {
                snapshot.removed(path);
            }
            for Found { path, fingerprint } in found.changed {
                snapshot.stored(path, fingerprint, at(1000));
            }
            // A removal takes what is below along, though an odd tree lists a child without its parent.
            let stored: Vec<&[u8]> = snapshot.entries.keys().map(|path| &**path).collect();
            for path in stored {
                prop_assert!(tree.iter().any(|(there, _)| there == path));
            }
        }
    }
}
