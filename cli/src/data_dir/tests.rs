//! Who may use a data directory, and when.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};

use super::*;

fn open(folder: &Path) -> anyhow::Result<DataDir> {
    DataDir::open(&folder.join("data"), &folder.join("config"), None)
}

#[test]
fn a_second_claim_is_told_who_holds_the_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = open(folder.path()).expect("a data directory");
    let Claim::Ours(_lock) = data.claim().expect("claim") else {
        panic!("nobody holds it")
    };
    let Claim::Held { pid } = data.claim().expect("claim again") else {
        panic!("it is held")
    };
    assert_eq!(pid, Some(std::process::id()));
}

#[test]
fn a_directory_of_a_newer_version_is_refused_untouched() {
    let folder = tempfile::tempdir().expect("a folder");
    open(folder.path()).expect("a data directory");
    fs::write(folder.path().join("data/version"), "999\n").expect("write");
    let error = open(folder.path()).expect_err("newer").to_string();
    assert!(
        error.contains("layout 999") && error.contains("upgrade"),
        "{error}"
    );
    assert_eq!(
        fs::read_to_string(folder.path().join("data/version")).expect("read"),
        "999\n"
    );
}

#[test]
fn a_directory_with_something_else_in_it_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::DirBuilder::new()
        .mode(0o700)
        .create(folder.path().join("data"))
        .expect("make");
    fs::write(folder.path().join("data/thesis.tex"), "…").expect("write");
    assert!(
        open(folder.path())
            .expect_err("foreign")
            .to_string()
            .contains("--data-dir")
    );
}

#[test]
fn a_directory_that_others_may_read_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("data")).expect("make");
    fs::set_permissions(
        folder.path().join("data"),
        fs::Permissions::from_mode(0o755),
    )
    .expect("chmod");
    assert!(
        open(folder.path())
            .expect_err("readable")
            .to_string()
            .contains("chmod 700")
    );
}

#[test]
fn sockets_of_a_deep_directory_lie_where_their_paths_are_short() {
    let folder = tempfile::tempdir().expect("a folder");
    let deep = folder.path().join("x".repeat(100));
    let runtime = folder.path().join("runtime");
    let data = DataDir::open(&deep, &folder.path().join("config"), Some(&runtime))
        .expect("a data directory");
    assert!(data.client_socket().starts_with(&runtime));
}

#[test]
fn an_owner_waits_for_its_last_client_and_takes_no_new_one_then() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = open(folder.path()).expect("a data directory");
    let Claim::Ours(lock) = data.claim().expect("claim") else {
        panic!("nobody holds it")
    };
    let client = data.share().expect("share").expect("a part");
    assert!(data.share_of_all(&lock).expect("look").is_none());
    drop(client);
    let _all = data
        .share_of_all(&lock)
        .expect("look")
        .expect("nobody is left");
    assert!(data.share().expect("share").is_none());
}
