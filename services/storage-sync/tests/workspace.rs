//! Workspaces without a sandbox, through the wire.

mod harness;

use std::time::Duration;

use harness::{Harness, Workspaces, directory, field, file, of, own, reason, user};
use sandgate_api::storage::v1 as pb;
use tonic::{Code, Status};

fn header(path: &[u8], request_id: &str) -> pb::WriteFileHeader {
    pb::WriteFileHeader {
        workspace: own(),
        path: path.to_vec(),
        request_id: request_id.to_owned(),
        ..Default::default()
    }
}

async fn write(
    client: &mut Workspaces,
    header: pb::WriteFileHeader,
    content: &[u8],
) -> Result<pb::Version, Status> {
    use pb::write_file_request::Part;
    let mut messages = vec![pb::WriteFileRequest {
        part: Some(Part::Header(header)),
    }];
    messages.extend(content.chunks(300_000).map(|data| pb::WriteFileRequest {
        part: Some(Part::Data(data.to_vec())),
    }));
    let answer = client.write_file(tokio_stream::iter(messages)).await?;
    Ok(answer.into_inner().version.expect("a version"))
}

async fn read(
    client: &mut Workspaces,
    request: pb::ReadFileRequest,
) -> Result<(pb::Entry, Vec<u8>), Status> {
    let mut stream = client.read_file(request).await?.into_inner();
    let (mut entry, mut content) = (None, Vec::new());
    while let Some(pb::ReadFileResponse { entry: first, data }) = stream.message().await? {
        assert!(data.len() <= 1024 * 1024);
        entry = entry.or(first);
        content.extend(data);
    }
    Ok((entry.expect("the entry comes first"), content))
}

fn reading(path: &[u8]) -> pb::ReadFileRequest {
    pb::ReadFileRequest {
        workspace: own(),
        path: path.to_vec(),
        ..Default::default()
    }
}

fn listing(path: &[u8]) -> pb::ListFilesRequest {
    pb::ListFilesRequest {
        workspace: own(),
        path: path.to_vec(),
        ..Default::default()
    }
}

fn paths(response: &pb::ListFilesResponse) -> Vec<&[u8]> {
    response
        .entries
        .iter()
        .map(|entry| entry.path.as_slice())
        .collect()
}

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
    let version = write(&mut client, header(b"a/b/f", ""), &content)
        .await
        .expect("written");
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
        .commit(&upload, "", vec![harness::upsert(sparse)])
        .await
        .expect("committed");
    let mut client = storage.workspaces(user("acme", "ann"));
    let (_, content) = read(&mut client, reading(b"f")).await.expect("read");
    assert_eq!(content.len(), 3_000_003);
    assert!(content[..3_000_000].iter().all(|byte| *byte == 0));
    assert_eq!(&content[3_000_000..], b"end");
}

#[tokio::test]
async fn a_write_is_allowed_while_a_sandbox_syncs_and_nothing_is_lost() {
    let storage = Harness::start().await;
    let mut daemon = storage.daemon().await;
    let first = daemon.sync("", &[(b"a", b"one")]).await;
    let upload = daemon.begin(&first.version).await;
    let mut client = storage.workspaces(user("acme", "ann"));
    let written = write(&mut client, header(b"b", ""), b"two")
        .await
        .expect("written");
    let changes = || vec![directory(b"d")];
    let status = daemon
        .commit(&upload, &first.version, changes())
        .await
        .expect_err("moved");
    assert_eq!(status.code(), Code::Aborted);
    daemon
        .commit(&upload, &written.version, changes())
        .await
        .expect("on the new head");
    let files = client
        .list_files(listing(b""))
        .await
        .expect("a list")
        .into_inner();
    assert_eq!(paths(&files), [b"a", b"b", b"d"]);
}

#[tokio::test]
async fn a_write_that_expected_another_head_is_aborted() {
    let storage = Harness::start().await;
    let mut client = storage.workspaces(user("acme", "ann"));
    let first = write(&mut client, header(b"a", ""), b"1")
        .await
        .expect("written");
    let second = write(&mut client, header(b"a", ""), b"2")
        .await
        .expect("written");
    let expecting = |version: &str| pb::WriteFileHeader {
        expected_version: version.to_owned(),
        ..header(b"a", "")
    };
    let status = write(&mut client, expecting(&first.version), b"3")
        .await
        .expect_err("moved");
    assert_eq!(reason(&status), "HEAD_MOVED");
    write(&mut client, expecting(&second.version), b"3")
        .await
        .expect("written");
}

#[tokio::test]
async fn a_request_id_is_done_once_and_names_no_other_request() {
    let storage = Harness::start().await;
    let mut client = storage.workspaces(user("acme", "ann"));
    let first = write(&mut client, header(b"a", "r"), b"1")
        .await
        .expect("written");
    let again = write(&mut client, header(b"a", "r"), b"1")
        .await
        .expect("repeated");
    assert_eq!(again, first);
    for (other, content) in [(header(b"a", "r"), b"2"), (header(b"b", "r"), b"1")] {
        let status = write(&mut client, other, content)
            .await
            .expect_err("another request");
        assert_eq!(
            (status.code(), field(&status).as_str()),
            (Code::InvalidArgument, "request_id")
        );
    }
    storage.clock.advance(Duration::from_secs(1));
    let versions = pb::ListVersionsRequest {
        workspace: own(),
        ..Default::default()
    };
    let versions = client
        .list_versions(versions)
        .await
        .expect("a list")
        .into_inner()
        .versions;
    assert_eq!(versions, [first]);
}

#[tokio::test]
async fn writes_at_the_same_time_all_arrive() {
    let storage = Harness::start().await;
    let client = storage.workspaces(user("acme", "ann"));
    let writes = (0..6).map(|number| {
        let mut client = client.clone();
        async move {
            write(
                &mut client,
                header(format!("f{number}").as_bytes(), ""),
                b"x",
            )
            .await
        }
    });
    for written in futures_util::future::join_all(writes).await {
        written.expect("written");
    }
    let files = client
        .clone()
        .list_files(listing(b""))
        .await
        .expect("a list")
        .into_inner();
    assert_eq!(files.entries.len(), 6);
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

#[tokio::test]
async fn an_older_version_is_restored_as_the_newest_and_none_between_is_lost() {
    let storage = Harness::start().await;
    let mut client = storage.workspaces(user("acme", "ann"));
    let first = write(&mut client, header(b"a", ""), b"1")
        .await
        .expect("written");
    let second = write(&mut client, header(b"a", ""), b"2")
        .await
        .expect("written");
    let request = |version: &str, request_id: &str| pb::RestoreVersionRequest {
        workspace: own(),
        version: version.to_owned(),
        request_id: request_id.to_owned(),
    };
    let restored = client
        .restore_version(request(&first.version, "r"))
        .await
        .expect("restored");
    let restored = restored.into_inner().version.expect("a version");
    assert_eq!(restored.parent, second.version);
    assert_eq!(restored.origin, i32::from(pb::Origin::Restore));
    assert_eq!(
        read(&mut client, reading(b"a")).await.expect("read").1,
        b"1"
    );
    let again = client
        .restore_version(request(&first.version, "r"))
        .await
        .expect("repeated");
    assert_eq!(again.into_inner().version, Some(restored.clone()));
    let head = client
        .restore_version(request(&restored.version, ""))
        .await
        .expect("the head");
    assert_eq!(head.into_inner().version, Some(restored.clone()));

    let mut listed = Vec::new();
    let mut token = String::new();
    loop {
        let page = pb::ListVersionsRequest {
            workspace: own(),
            page_size: 2,
            page_token: token,
        };
        let page = client
            .list_versions(page)
            .await
            .expect("a page")
            .into_inner();
        listed.extend(page.versions.into_iter().map(|version| version.version));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, [restored.version, second.version, first.version]);
}

#[tokio::test]
async fn a_workspace_of_another_user_or_tenant_is_as_if_it_were_not() {
    let storage = Harness::start().await;
    let mut ann = storage.workspaces(user("acme", "ann"));
    let version = write(&mut ann, header(b"a", ""), b"1")
        .await
        .expect("written");
    for other in [user("acme", "bob"), user("other", "ann")] {
        let mut client = storage.workspaces(other);
        let files = client
            .list_files(listing(b""))
            .await
            .expect("a list")
            .into_inner();
        assert!(files.entries.is_empty());
        let known = pb::ReadFileRequest {
            version: version.version.clone(),
            ..reading(b"a")
        };
        assert_eq!(
            read(&mut client, known)
                .await
                .expect_err("not theirs")
                .code(),
            Code::NotFound
        );
    }
    let named = pb::WorkspaceName {
        user: "ann".to_owned(),
        ..of("c").expect("a name")
    };
    let request = pb::GetWorkspaceRequest {
        workspace: Some(named.clone()),
    };
    let status = storage
        .workspaces(user("acme", "bob"))
        .get_workspace(request.clone())
        .await;
    assert_eq!(field(&status.expect_err("not bob's")), "workspace.user");

    let mut application = user("acme", "nobody");
    application.user = None;
    let status = storage
        .workspaces(application.clone())
        .get_workspace(request.clone())
        .await;
    assert_eq!(reason(&status.expect_err("may name nobody")), "NO_USER");
    application.may_name_users = true;
    let state = storage
        .workspaces(application)
        .get_workspace(request)
        .await
        .expect("may name");
    assert_eq!(state.into_inner().head, Some(version));
    let tenant = pb::WorkspaceName {
        tenant: "acme".to_owned(),
        ..named
    };
    let request = pb::GetWorkspaceRequest {
        workspace: Some(tenant),
    };
    let status = ann
        .get_workspace(request)
        .await
        .expect_err("only services name tenants");
    assert_eq!(field(&status), "workspace.tenant");
}

#[tokio::test]
async fn paths_modes_and_ids_that_break_a_rule_are_refused_by_field() {
    let storage = Harness::start().await;
    let mut client = storage.workspaces(user("acme", "ann"));
    let long = [b'x'; 256];
    for path in [&b"../f"[..], b"", b"/f", b"a//f", b"a\0f", &long] {
        let status = write(&mut client, header(path, ""), b"x")
            .await
            .expect_err("refused");
        assert_eq!(field(&status), "header.path");
        if !path.is_empty() {
            assert_eq!(
                field(&client.list_files(listing(path)).await.expect_err("refused")),
                "path"
            );
        }
    }
    let mode = pb::WriteFileHeader {
        mode: 0o4755,
        ..header(b"f", "")
    };
    assert_eq!(
        field(&write(&mut client, mode, b"").await.expect_err("refused")),
        "header.mode"
    );
    let request = header(b"f", "no spaces");
    let status = write(&mut client, request, b"").await.expect_err("refused");
    assert_eq!(field(&status), "header.request_id");
    let nameless = pb::WriteFileHeader {
        workspace: of(""),
        ..header(b"f", "")
    };
    let status = write(&mut client, nameless, b"")
        .await
        .expect_err("refused");
    assert_eq!(field(&status), "workspace.conversation");
    let status = client
        .write_file(tokio_stream::iter(Vec::new()))
        .await
        .expect_err("refused");
    assert_eq!(field(&status), "header");
    write(&mut client, header(b"f", ""), b"x")
        .await
        .expect("written");
    let below = write(&mut client, header(b"f/g", ""), b"x")
        .await
        .expect_err("below a file");
    assert_eq!(reason(&below), "NOT_A_DIRECTORY");
    write(&mut client, header(b"d/g", ""), b"x")
        .await
        .expect("written");
    let over = write(&mut client, header(b"d", ""), b"x")
        .await
        .expect_err("over a directory");
    assert_eq!(reason(&over), "IS_A_DIRECTORY");
}
