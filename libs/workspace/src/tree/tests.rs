//! The rules of the tree, each tried on a real file system.

mod links;

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, Mode, mkfifoat};
use tempfile::TempDir;

use super::*;

struct Fixture {
    outside: TempDir,
    tree: Tree,
}

impl Fixture {
    /// A tree in `inside`, beside a secret that nothing may reach.
    fn new() -> Self {
        let outside = TempDir::new().expect("temp dir");
        fs::write(outside.path().join("secret"), "secret").expect("secret");
        fs::create_dir(outside.path().join("inside")).expect("inside");
        let tree = Tree::open(&outside.path().join("inside")).expect("tree");
        Self { outside, tree }
    }

    fn on_disk(&self, path: &str) -> std::path::PathBuf {
        self.outside.path().join("inside").join(path)
    }

    fn write(&self, at: &str, content: &[u8]) {
        let mut file = self.tree.create_file(&path(at)).expect("create");
        file.write_all(content).expect("write");
        file.commit(0o644, None).expect("commit");
    }

    fn visits(&self) -> Vec<String> {
        let mut seen = Vec::new();
        self.tree
            .walk(&TreePath::root(), WalkLimits { entries: 1000 }, |visit| {
                seen.push(match visit {
                    Visit::Entry { path, .. } => path.to_string(),
                    Visit::Skipped { path, why } => format!("{path}: {why:?}"),
                });
                Ok::<_, TreeError>(())
            })
            .expect("walk");
        seen
    }
}

fn path(text: &str) -> TreePath {
    TreePath::parse("path", text.as_bytes()).expect("valid path")
}

#[test]
fn a_file_appears_whole_with_its_mode_and_time() {
    let fixture = Fixture::new();
    let mut file = fixture.tree.create_file(&path("a")).expect("create");
    file.write_all(b"hello").expect("write");
    assert!(
        !fixture.on_disk("a").exists(),
        "an unfinished file has no name of its own"
    );
    let mtime = Mtime {
        seconds: 1_600_000_000,
        nanos: 123_456_789,
    };
    file.commit(0o6751, Some(mtime)).expect("commit");
    let stat = fixture.tree.stat(&path("a")).expect("stat");
    assert_eq!(
        (stat.kind, stat.mode, stat.mtime, stat.size),
        (Kind::File, 0o751, mtime, 5)
    );
    let raw = fs::metadata(fixture.on_disk("a")).expect("metadata").mode();
    assert_eq!(raw & 0o7000, 0, "no set-uid comes out of a restore");
}

#[test]
fn an_abandoned_file_is_gone_and_an_unfinished_one_is_left_out_by_a_walk() {
    let fixture = Fixture::new();
    let file = fixture.tree.create_file(&path("a")).expect("create");
    let visits = fixture.visits();
    assert_eq!(visits.len(), 1, "{visits:?}");
    assert!(visits[0].ends_with("Partial"), "{visits:?}");
    drop(file);
    assert_eq!(fs::read_dir(fixture.on_disk("")).expect("read").count(), 0);
}

#[test]
fn a_tree_deeper_than_the_bound_is_refused_and_not_overflown() {
    let fixture = Fixture::new();
    let mut directory = fixture
        .tree
        .open_directory(&TreePath::root(), OFlags::RDONLY)
        .expect("root");
    for _ in 0..DEPTH_MAX_FOR_TEST {
        rustix::fs::mkdirat(&directory, "d", Mode::RWXU).expect("mkdir");
        directory = beneath(&directory, b"d", OFlags::RDONLY, Mode::empty()).expect("open");
    }
    assert!(matches!(
        fixture.tree.remove(&path("d"), true),
        Err(TreeError::TooDeep)
    ));
    assert!(
        fixture
            .visits()
            .last()
            .expect("visits")
            .ends_with("Unnameable")
    );
}

const DEPTH_MAX_FOR_TEST: usize = crate::DEPTH_MAX + 50;

#[test]
fn fifos_and_sockets_neither_block_nor_are_stored() {
    let fixture = Fixture::new();
    mkfifoat(CWD, fixture.on_disk("fifo"), Mode::RWXU).expect("fifo");
    let _socket = UnixListener::bind(fixture.on_disk("socket")).expect("socket");
    fixture.write("file", b"x");
    assert!(matches!(
        fixture.tree.open_file(&path("fifo")),
        Err(TreeError::Special)
    ));
    assert!(matches!(
        fixture.tree.open_file(&path("socket")),
        Err(TreeError::Special)
    ));
    assert_eq!(
        fixture.visits(),
        ["fifo: Special", "file", "socket: Special"]
    );
}

#[test]
fn a_walk_sorts_by_raw_bytes_and_shows_parents_first() {
    let fixture = Fixture::new();
    for name in ["b/z", "b/a", "a\nb/x", "\u{e9}"] {
        let file = path(name);
        fixture
            .tree
            .make_directories(&file.parent().expect("parent"), 0o755)
            .expect("parents");
        fixture.write(name, b"");
    }
    assert_eq!(
        fixture.visits(),
        ["a\\nb", "b", "\\xc3\\xa9", "a\\nb/x", "b/a", "b/z"]
    );
}

#[test]
fn a_walk_past_its_limit_is_an_error() {
    let fixture = Fixture::new();
    fixture.write("a", b"");
    fixture.write("b", b"");
    let walk = |entries| {
        fixture
            .tree
            .walk(&TreePath::root(), WalkLimits { entries }, |_| {
                Ok::<_, TreeError>(())
            })
    };
    assert!(matches!(walk(1), Err(TreeError::TooMany)));
    assert_eq!(walk(2).expect("fits").entries, 2);
}

#[test]
fn a_rename_replaces_only_when_it_is_told_to() {
    let fixture = Fixture::new();
    fixture.write("a", b"1");
    fixture.write("b", b"2");
    let rename = |replace| fixture.tree.rename(&path("a"), &path("b"), replace);
    assert!(matches!(rename(false), Err(TreeError::AlreadyExists)));
    assert_eq!(fs::read(fixture.on_disk("b")).expect("b"), b"2");
    rename(true).expect("rename");
    assert_eq!(fs::read(fixture.on_disk("b")).expect("b"), b"1");
    fixture
        .tree
        .make_directory(&path("d"), 0o755)
        .expect("mkdir");
    assert!(matches!(
        fixture.tree.rename(&path("d"), &path("d/e"), false),
        Err(TreeError::IntoItself)
    ));
}

#[test]
fn a_file_does_not_take_the_place_of_a_directory() {
    let fixture = Fixture::new();
    fixture
        .tree
        .make_directory(&path("d"), 0o755)
        .expect("mkdir");
    assert!(matches!(
        fixture.tree.create_file(&path("d")),
        Err(TreeError::IsDirectory)
    ));
    assert!(matches!(
        fixture.tree.make_symlink(&path("d"), b"x"),
        Err(TreeError::IsDirectory)
    ));
}

#[test]
fn the_mode_of_an_unreadable_file_can_be_set() {
    let fixture = Fixture::new();
    fixture.write("a", b"");
    fixture.tree.set_mode(&path("a"), 0).expect("to nothing");
    fixture.tree.set_mode(&path("a"), 0o4640).expect("and back");
    let mode = fs::metadata(fixture.on_disk("a"))
        .expect("metadata")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o640);
}

#[test]
fn holes_of_a_sparse_file_are_found() {
    const SIZE: u64 = 5 << 30;
    let fixture = Fixture::new();
    let mut new = fixture.tree.create_file(&path("sparse")).expect("create");
    new.file().set_len(SIZE).expect("size");
    new.file().seek(SeekFrom::Start(1 << 30)).expect("seek");
    new.write_all(&[1; 4096]).expect("write");
    new.commit(0o600, None).expect("commit");
    let (mut file, stat) = fixture.tree.open_file(&path("sparse")).expect("open");
    assert_eq!(stat.size, SIZE);
    let data = next_data(&file, 0, SIZE).expect("seek").expect("data");
    assert!(
        data.start <= 1 << 30 && data.end >= (1 << 30) + 4096 && data.end - data.start < 1 << 20
    );
    assert_eq!(next_data(&file, data.end, SIZE).expect("seek"), None);
    file.seek(SeekFrom::Start(1 << 30)).expect("seek");
    let mut first = [0];
    file.read_exact(&mut first).expect("read");
    assert_eq!(first, [1]);
}
