//! Files are written and versions restored without a sandbox.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use sandgate_api::storage::v1 as pb;
use tonic::Code;

use crate::harness::{
    Harness, directory, field, header, listing, own, paths, read, reading, reason, user, write,
    written,
};

#[tokio::test]
async fn a_write_is_allowed_while_a_sandbox_syncs_and_nothing_is_lost() {
    let storage = Harness::start().await;
    let mut daemon = storage.daemon().await;
    let first = daemon.sync("", &[(b"a", b"one")]).await;
    let upload = daemon.begin(&first.version).await;
    let mut client = storage.workspaces(user("acme", "ann"));
    let written = written(&mut client, b"b", b"two").await;
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
    let first = written(&mut client, b"a", b"1").await;
    let second = written(&mut client, b"a", b"2").await;
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
async fn an_older_version_is_restored_as_the_newest_and_none_between_is_lost() {
    let storage = Harness::start().await;
    let mut client = storage.workspaces(user("acme", "ann"));
    let first = written(&mut client, b"a", b"1").await;
    let second = written(&mut client, b"a", b"2").await;
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
async fn a_restore_of_what_the_head_is_already_is_not_done_again_once_the_head_has_moved() {
    let storage = Harness::start().await;
    let mut client = storage.workspaces(user("acme", "ann"));
    let first = written(&mut client, b"a", b"1").await;
    let request = |request_id: &str| pb::RestoreVersionRequest {
        workspace: own(),
        version: first.version.clone(),
        request_id: request_id.to_owned(),
    };
    let answer = client.restore_version(request("r")).await;
    let answer = answer.expect("the head").into_inner();
    assert_eq!(answer.version, Some(first.clone()));
    written(&mut client, b"a", b"2").await;

    let again = client.restore_version(request("r")).await;
    assert_eq!(again.expect("repeated").into_inner(), answer);
    assert_eq!(
        read(&mut client, reading(b"a")).await.expect("read").1,
        b"2"
    );
    // The control: another request is done.
    client
        .restore_version(request("s"))
        .await
        .expect("restored");
    assert_eq!(
        read(&mut client, reading(b"a")).await.expect("read").1,
        b"1"
    );
}

#[tokio::test]
async fn no_other_user_of_the_machine_can_read_what_is_stored() {
    let storage = Harness::start().await;
    let mut client = storage.workspaces(user("acme", "ann"));
    written(&mut client, b"a", b"1").await;
    let objects = storage.objects();
    assert!(!objects.is_empty());
    let root = storage.folder.path().join("objects");
    for object in objects {
        let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&object), 0o600, "{}", object.display());
        let above = object.ancestors().skip(1);
        for folder in above.take_while(|folder| folder.starts_with(&root)) {
            assert_eq!(mode(folder), 0o700, "{}", folder.display());
        }
    }
}
