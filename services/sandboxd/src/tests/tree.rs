//! Directories of the workspace, and what changes in them.

use std::os::unix::fs::PermissionsExt as _;

use sandgate_api::sandbox::v1 as pb;
use sandgate_api::sandbox::v1::watch_files_response::Event;
use tonic::Code;

use super::files::upload;
use super::harness::{NEVER, Sandbox, reason};

#[tokio::test]
async fn directories_are_made_moved_and_removed_as_asked_and_no_further() {
    let sandbox = Sandbox::attached().await;
    let make = |path: &str, make_parents| pb::MakeDirectoryRequest {
        path: path.into(),
        mode: 0,
        make_parents,
    };
    let mut files = sandbox.files();
    assert_eq!(
        reason(
            &files
                .make_directory(make("a/b", false))
                .await
                .expect_err("no parent")
        ),
        "NO_SUCH_FILE"
    );
    files.make_directory(make("a/b", true)).await.expect("made");
    files
        .make_directory(make("a/b", true))
        .await
        .expect("there already is fine");
    assert_eq!(
        files
            .make_directory(make("a/b", false))
            .await
            .expect_err("there")
            .code(),
        Code::AlreadyExists
    );
    assert_eq!(
        std::fs::metadata(sandbox.at("a/b"))
            .expect("there")
            .permissions()
            .mode()
            & 0o777,
        0o755
    );
    files
        .write_file(upload("a/b/f", b"1"))
        .await
        .expect("written");
    files.write_file(upload("g", b"2")).await.expect("written");
    let moved = |source: &str, target: &str, replace| pb::MoveFileRequest {
        source: source.into(),
        target: target.into(),
        replace,
    };
    assert_eq!(
        files
            .move_file(moved("g", "a/b/f", false))
            .await
            .expect_err("there")
            .code(),
        Code::AlreadyExists
    );
    assert_eq!(std::fs::read(sandbox.at("a/b/f")).expect("there"), b"1");
    files
        .move_file(moved("g", "a/b/f", true))
        .await
        .expect("replaced");
    assert_eq!(std::fs::read(sandbox.at("a/b/f")).expect("there"), b"2");
    assert_eq!(
        super::harness::field(
            &files
                .move_file(moved("a", "a/b/c", false))
                .await
                .expect_err("into itself")
        ),
        "target"
    );
    let remove = |path: &str, recursive| pb::RemoveFileRequest {
        path: path.into(),
        recursive,
    };
    assert_eq!(
        reason(
            &files
                .remove_file(remove("a", false))
                .await
                .expect_err("full")
        ),
        "DIRECTORY_NOT_EMPTY"
    );
    files.remove_file(remove("a", true)).await.expect("removed");
    assert_eq!(
        files
            .remove_file(remove("a", true))
            .await
            .expect_err("gone")
            .code(),
        Code::NotFound
    );
    let stat = |path: &str| pb::StatFileRequest { path: path.into() };
    assert_eq!(
        files.stat_file(stat("a")).await.expect_err("gone").code(),
        Code::NotFound
    );
    let root = files
        .stat_file(stat(""))
        .await
        .expect("the workspace")
        .into_inner()
        .info
        .expect("info");
    assert_eq!(root.kind(), pb::FileKind::Directory);
}

#[tokio::test]
async fn a_watch_is_in_place_when_it_says_so_and_sees_what_is_in_new_directories() {
    let sandbox = Sandbox::attached().await;
    let request = pb::WatchFilesRequest {
        path: Vec::new(),
        recursive: true,
    };
    let mut stream = sandbox
        .files()
        .watch_files(request)
        .await
        .expect("watched")
        .into_inner();
    let first = stream
        .message()
        .await
        .expect("a message")
        .expect("one")
        .event;
    assert!(matches!(first, Some(Event::Started(_))));
    let expect = [
        ("d", pb::FileChangeKind::Created),
        ("d/f", pb::FileChangeKind::Created),
        ("d/f", pb::FileChangeKind::Removed),
    ];
    std::fs::create_dir(sandbox.at("d")).expect("a folder");
    std::fs::write(sandbox.at("d/f"), "x").expect("a file");
    let mut seen = Vec::new();
    let mut removed = false;
    let all = async {
        while !expect
            .iter()
            .all(|(path, kind)| seen.contains(&((*path).to_owned(), *kind)))
        {
            let message = stream.message().await.expect("a message").expect("one");
            if let Some(Event::Change(change)) = message.event {
                seen.push((
                    String::from_utf8(change.path.clone()).expect("text"),
                    change.kind(),
                ));
            }
            if !removed && seen.contains(&("d/f".to_owned(), pb::FileChangeKind::Created)) {
                std::fs::remove_file(sandbox.at("d/f")).expect("removed");
                removed = true;
            }
        }
    };
    tokio::time::timeout(NEVER, all)
        .await
        .expect("everything is seen");
    let missing = pb::WatchFilesRequest {
        path: b"missing".to_vec(),
        recursive: false,
    };
    assert_eq!(
        sandbox
            .files()
            .watch_files(missing)
            .await
            .expect_err("nothing there")
            .code(),
        Code::NotFound
    );
}
