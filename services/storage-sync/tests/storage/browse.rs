//! Workspaces are listed and read without a sandbox.

use sandgate_api::storage::v1 as pb;
use tonic::Code;

use crate::harness::{
    Harness, field, file, header, listing, own, paths, read, reading, reason, user, write, written,
};

#[tokio::test]
async fn a_workspace_that_was_never_written_is_empty_and_not_unknown() {
    let storage = Harness::start().await;
    let mut client = storage.workspaces(user("acme", "ann"));
    let request = pb::GetWorkspaceRequest { workspace: own() };
    let state = client
        .get_workspace(request)
        .await
        .expect("a state")
        .into_inner();
    assert_eq!(
        state,
        pb::GetWorkspaceResponse::default(),
        "and a caller gets no seed"
    );
    let files = client
        .list_files(listing(b""))
        .await
        .expect("a list")
        .into_inner();
    assert_eq!(files, pb::ListFilesResponse::default());
    let status = read(&mut client, reading(b"f"))
        .await
        .expect_err("nothing there");
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn a_file_is_written_with_its_parents_and_read_back_in_ranges() {
    let storage = Harness::start().await;
    let mut client = storage.workspaces(user("acme", "ann"));
    let content: Vec<u8> = (0..1_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let version = written(&mut client, b"a/b/f", &content).await;
    assert_eq!((version.entries, version.bytes), (3, 1_000_000));
    assert_eq!(version.origin, i32::from(pb::Origin::Write));
    let (entry, read_back) = read(&mut client, reading(b"a/b/f")).await.expect("read");
    assert_eq!((entry.mode, entry.size), (0o644, 1_000_000));
    assert_eq!(read_back, content);
    for (offset, length) in [(0, 1), (999_999, 5), (300_000, 400_000), (1_000_000, 7)] {
        let range = pb::ReadFileRequest {
            offset,
            length,
            ..reading(b"a/b/f")
        };
        let (_, part) = read(&mut client, range).await.expect("read");
        let (from, to) = (offset as usize, (offset + length).min(1_000_000) as usize);
        assert_eq!(part, content[from..to], "{offset}+{length}");
    }
    let beyond = pb::ReadFileRequest {
        offset: 1_000_001,
        ..reading(b"a/b/f")
    };
    assert_eq!(
        read(&mut client, beyond).await.expect_err("beyond").code(),
        Code::OutOfRange
    );
    let status = read(&mut client, reading(b"a/b"))
        .await
        .expect_err("a directory");
    assert_eq!(reason(&status), "NOT_A_FILE");
}

#[tokio::test]
async fn holes_of_a_synced_file_are_read_as_zeros() {
    let storage = Harness::start().await;
    let mut daemon = storage.daemon().await;
    let upload = daemon.begin("").await;
    daemon
        .send(&upload, &[b"end".to_vec()])
        .await
        .expect("sent");
    let pb::Change {
        change: Some(pb::change::Change::Upsert(mut sparse)),
    } = file(b"f", &[b"end".to_vec()])
    else {
        panic!("an upsert")
    };
    sparse.chunks.insert(
        0,
        pb::ChunkRef {
            hash: Vec::new(),
            length: 3_000_000,
        },
    );
    sparse.size += 3_000_000;
    daemon
        .commit(&upload, "", vec![crate::harness::upsert(sparse)])
        .await
        .expect("committed");
    let mut client = storage.workspaces(user("acme", "ann"));
    let (_, content) = read(&mut client, reading(b"f")).await.expect("read");
    assert_eq!(content.len(), 3_000_003);
    assert!(content[..3_000_000].iter().all(|byte| *byte == 0));
    assert_eq!(&content[3_000_000..], b"end");
}

#[tokio::test]
async fn files_are_listed_below_a_directory_by_pages_of_one_version() {
    let storage = Harness::start().await;
    let mut client = storage.workspaces(user("acme", "ann"));
    for path in ["a", "d/1", "d/2", "d/e/3", "d-x"] {
        write(&mut client, header(path.as_bytes(), ""), b"x")
            .await
            .expect("written");
    }
    let request = |token: &str| pb::ListFilesRequest {
        page_size: 3,
        page_token: token.to_owned(),
        ..listing(b"d")
    };
    let first = client
        .list_files(request(""))
        .await
        .expect("a page")
        .into_inner();
    assert_eq!(paths(&first), [b"d/1".as_slice(), b"d/2", b"d/e"]);
    write(&mut client, header(b"d/9", ""), b"x")
        .await
        .expect("written meanwhile");
    let token = first.next_page_token.clone();
    let second = client
        .list_files(request(&token))
        .await
        .expect("a page")
        .into_inner();
    assert_eq!(paths(&second), [b"d/e/3"]);
    assert_eq!(
        (second.next_page_token.as_str(), &second.version),
        ("", &first.version)
    );

    let elsewhere = pb::ListFilesRequest {
        page_token: token.clone(),
        ..listing(b"")
    };
    let status = client
        .list_files(elsewhere)
        .await
        .expect_err("of another list");
    assert_eq!(field(&status), "page_token");
    let status = client
        .list_files(request("nonsense"))
        .await
        .expect_err("nonsense");
    assert_eq!(field(&status), "page_token");
    let negative = pb::ListFilesRequest {
        page_size: -1,
        ..listing(b"")
    };
    assert_eq!(
        field(&client.list_files(negative).await.expect_err("negative")),
        "page_size"
    );
    let status = client.list_files(listing(b"a")).await.expect_err("a file");
    assert_eq!(reason(&status), "NOT_A_DIRECTORY");
    let status = client
        .list_files(listing(b"none"))
        .await
        .expect_err("nothing");
    assert_eq!(status.code(), Code::NotFound);
}
