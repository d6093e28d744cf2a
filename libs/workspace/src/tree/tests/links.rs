//! Links that lead out of the tree.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

#[test]
fn no_operation_follows_a_link_out_of_the_tree() {
    let fixture = Fixture::new();
    symlink("..", fixture.on_disk("up")).expect("link");
    symlink("../secret", fixture.on_disk("file")).expect("link");
    symlink(fixture.outside.path(), fixture.on_disk("absolute")).expect("link");
    for through in ["up/secret", "absolute/secret"] {
        let through = path(through);
        let tree = &fixture.tree;
        let refused = [
            tree.open_file(&through).map(drop),
            tree.create_file(&through).map(drop),
            tree.stat(&through).map(drop),
            tree.remove(&through, true),
            tree.make_directory(&through, 0o755),
            tree.make_symlink(&through, b"x"),
            tree.set_mode(&through, 0o777),
            tree.set_mtime(&through, Mtime::default()),
            tree.rename(&through, &path("stolen"), true),
            tree.make_directories(&through, 0o755),
        ];
        for (number, result) in refused.into_iter().enumerate() {
            let error = result.expect_err("refused");
            assert!(
                matches!(error, TreeError::Link | TreeError::NotDirectory),
                "{number}: {error:?}"
            );
        }
    }
    assert!(matches!(
        fixture.tree.open_file(&path("file")),
        Err(TreeError::Link)
    ));
    assert!(matches!(
        fixture.tree.open_for_writing(&path("file")),
        Err(TreeError::Link)
    ));
    assert!(matches!(
        fixture.tree.set_mode(&path("file"), 0o777),
        Err(TreeError::Link)
    ));
    assert!(matches!(
        fixture.tree.list(&path("up"), 10),
        Err(TreeError::Link | TreeError::NotDirectory)
    ));
    assert_eq!(
        fixture.tree.read_link(&path("file")).expect("target"),
        b"../secret"
    );
    fixture.write("file", b"mine");
    assert_eq!(
        fs::read(fixture.outside.path().join("secret")).expect("secret"),
        b"secret"
    );
    assert_eq!(
        fs::read(fixture.on_disk("file")).expect("replaced"),
        b"mine"
    );
}

#[test]
fn removing_a_tree_removes_its_links_and_not_their_targets() {
    let fixture = Fixture::new();
    fs::create_dir_all(fixture.on_disk("d/e/f")).expect("dirs");
    fs::write(fixture.on_disk("d/e/f/g"), "x").expect("file");
    symlink("../..", fixture.on_disk("d/link")).expect("link");
    assert!(matches!(
        fixture.tree.remove(&path("d"), false),
        Err(TreeError::NotEmpty)
    ));
    fixture.tree.remove(&path("d"), true).expect("remove");
    assert!(!fixture.on_disk("d").exists());
    assert!(fixture.outside.path().join("secret").exists());
    assert!(matches!(
        fixture.tree.remove(&path("d"), true),
        Err(TreeError::NotFound)
    ));
}
