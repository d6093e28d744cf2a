//! Names that lead elsewhere, or nowhere.

use sandgate_api::sandbox::v1 as pb;
use tonic::Status;

use super::harness::{Sandbox, field};

/// The calls that take a path, and the field in which each takes it.
async fn each_call(sandbox: &Sandbox, path: &[u8]) -> Vec<(&'static str, Result<(), Status>)> {
    let path = path.to_vec();
    let mut files = sandbox.files();
    let read = pb::ReadFileRequest {
        path: path.clone(),
        ..Default::default()
    };
    let header = pb::WriteFileHeader {
        path: path.clone(),
        ..Default::default()
    };
    let write = pb::WriteFileRequest {
        part: Some(pb::write_file_request::Part::Header(header)),
    };
    let make = pb::MakeDirectoryRequest {
        path: path.clone(),
        ..Default::default()
    };
    let from = pb::MoveFileRequest {
        source: path.clone(),
        target: b"elsewhere".to_vec(),
        replace: false,
    };
    let to = pb::MoveFileRequest {
        source: b"here".to_vec(),
        target: path.clone(),
        replace: true,
    };
    let remove = pb::RemoveFileRequest {
        path: path.clone(),
        recursive: true,
    };
    let stat = pb::StatFileRequest { path: path.clone() };
    let list = pb::ListDirectoryRequest {
        path: path.clone(),
        ..Default::default()
    };
    let watch = pb::WatchFilesRequest {
        path,
        recursive: true,
    };
    vec![
        ("path", files.read_file(read).await.map(drop)),
        (
            "header.path",
            files
                .write_file(tokio_stream::iter([write]))
                .await
                .map(drop),
        ),
        ("path", files.make_directory(make).await.map(drop)),
        ("source", files.move_file(from).await.map(drop)),
        ("target", files.move_file(to).await.map(drop)),
        ("path", files.remove_file(remove).await.map(drop)),
        ("path", files.stat_file(stat).await.map(drop)),
        ("path", files.list_directory(list).await.map(drop)),
        ("path", files.watch_files(watch).await.map(drop)),
    ]
}

/// A sandbox beside whose workspace is something that nobody inside may reach.
async fn beside_a_secret() -> Sandbox {
    let sandbox = Sandbox::attached().await;
    std::fs::write(sandbox.folder.path().join("secret"), "canary").expect("a file outside");
    std::fs::write(sandbox.at("here"), "here").expect("a file inside");
    std::os::unix::fs::symlink("..", sandbox.at("up")).expect("a link");
    std::os::unix::fs::symlink("../secret", sandbox.at("link")).expect("a link");
    sandbox
}

fn is_untouched(sandbox: &Sandbox) {
    let outside = std::fs::read(sandbox.folder.path().join("secret")).expect("still there");
    assert_eq!(outside, b"canary");
    let inside = std::fs::read(sandbox.at("here")).expect("still there");
    assert_eq!(inside, b"here");
    let mut names: Vec<_> = std::fs::read_dir(sandbox.workspace())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["here", "link", "up"]);
}

#[tokio::test]
async fn a_path_that_cannot_be_one_is_refused_by_its_field_in_every_call() {
    let sandbox = beside_a_secret().await;
    let long = "x".repeat(256);
    for path in [
        "..",
        "../secret",
        "a/../../secret",
        "/etc/passwd",
        "a//b",
        "a/",
        "./a",
        "a\0b",
        &long,
        &format!("a/{long}"),
    ] {
        for (name, refused) in each_call(&sandbox, path.as_bytes()).await {
            let refused = refused.expect_err(path);
            assert_eq!(field(&refused), name, "{path:?}");
        }
    }
    is_untouched(&sandbox);
}

#[tokio::test]
async fn a_path_that_leads_through_a_link_is_refused_in_every_call() {
    let sandbox = beside_a_secret().await;
    for (name, refused) in each_call(&sandbox, b"up/secret").await {
        assert_eq!(field(&refused.expect_err("refused")), name);
    }
    is_untouched(&sandbox);
}

#[tokio::test]
async fn a_link_is_never_read_through() {
    let sandbox = beside_a_secret().await;
    let read = pb::ReadFileRequest {
        path: b"link".to_vec(),
        ..Default::default()
    };
    let refused = sandbox.files().read_file(read).await.expect_err("refused");
    assert_eq!(field(&refused), "path");
    is_untouched(&sandbox);
}

#[tokio::test]
async fn a_name_of_two_hundred_and_fifty_five_bytes_or_with_a_line_break_is_as_good_as_any() {
    let sandbox = Sandbox::attached().await;
    std::fs::write(sandbox.at("here"), "here").expect("a file");
    for name in [&b"y".repeat(255)[..], b"two\nlines", b"\xff\xfe"] {
        let moved = pb::MoveFileRequest {
            source: b"here".to_vec(),
            target: name.to_vec(),
            replace: false,
        };
        sandbox.files().move_file(moved).await.expect("moved");
        let stat = pb::StatFileRequest {
            path: name.to_vec(),
        };
        let info = sandbox.files().stat_file(stat).await.expect("there");
        assert_eq!(info.into_inner().info.expect("info").path, name);
        let back = pb::MoveFileRequest {
            source: name.to_vec(),
            target: b"here".to_vec(),
            replace: false,
        };
        sandbox.files().move_file(back).await.expect("moved back");
    }
}
