//! Who may not, and what breaks a rule.

use sandgate_api::storage::v1 as pb;
use tonic::Code;

use crate::harness::{
    Harness, field, header, listing, of, own, read, reading, reason, session, user, write, written,
};

#[tokio::test]
async fn a_workspace_of_another_user_or_tenant_is_as_if_it_were_not() {
    let storage = Harness::start().await;
    let mut ann = storage.workspaces(user("acme", "ann"));
    let version = written(&mut ann, b"a", b"1").await;
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
    written(&mut client, b"f", b"x").await;
    let below = write(&mut client, header(b"f/g", ""), b"x")
        .await
        .expect_err("below a file");
    assert_eq!(reason(&below), "NOT_A_DIRECTORY");
    written(&mut client, b"d/g", b"x").await;
    let over = write(&mut client, header(b"d", ""), b"x")
        .await
        .expect_err("over a directory");
    assert_eq!(reason(&over), "IS_A_DIRECTORY");
}

#[tokio::test]
async fn messages_past_their_bounds_are_refused_by_field() {
    let storage = Harness::start().await;
    let mut daemon = storage.daemon().await;
    let upload = daemon.begin("").await;
    let status = daemon
        .send(&upload, &[vec![0; 262_145]])
        .await
        .expect_err("too long");
    assert_eq!(field(&status), "chunks[0]");
    let status = daemon
        .send(&upload, &[Vec::new()])
        .await
        .expect_err("empty");
    assert_eq!(field(&status), "chunks[0]");
    let status = daemon
        .send("u1", &[b"x".to_vec()])
        .await
        .expect_err("no upload");
    assert_eq!(field(&status), "upload_id");
    let offer = pb::OfferChunksRequest {
        upload_id: upload.clone(),
        hashes: vec![vec![0; 32]; 4097],
    };
    let status = daemon.sync.offer_chunks(offer).await.expect_err("too many");
    assert_eq!(field(&status), "hashes");
    let offer = pb::OfferChunksRequest {
        upload_id: upload,
        hashes: vec![vec![0; 31]],
    };
    let status = daemon
        .sync
        .offer_chunks(offer)
        .await
        .expect_err("too short");
    assert_eq!(field(&status), "hashes[0]");
}

#[tokio::test]
async fn a_user_is_no_daemon_and_a_daemon_no_user() {
    let storage = Harness::start().await;
    let mut sync = storage.sync(user("acme", "ann"));
    let status = sync
        .begin_upload(pb::BeginUploadRequest::default())
        .await
        .expect_err("a user");
    assert_eq!(status.code(), Code::PermissionDenied);
    let mut workspaces = storage.workspaces(session("acme", "ann", "c", 1));
    let request = pb::ListVersionsRequest {
        workspace: own(),
        ..Default::default()
    };
    let status = workspaces
        .list_versions(request)
        .await
        .expect_err("a daemon");
    assert_eq!(status.code(), Code::PermissionDenied);
}
