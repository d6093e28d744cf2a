//! A workspace that has no room left.

use sandgate_api::orchestrator::v1::report_instance_request::Event;
use sandgate_api::sandbox::v1 as pb;
use tonic::{Code, Status};

use super::files::upload;
use super::folder::bounded_folder;
use super::harness::{Sandbox, reason};
use super::store::file;

const SIZE: u64 = 1 << 20;

/// A sandbox with a workspace of one mebibyte.
async fn small() -> Sandbox {
    let sandbox = Sandbox::spare_in(bounded_folder(SIZE)).await;
    let attached = sandbox.attach(sandbox.attachment()).await;
    attached.expect("attached");
    sandbox
}

/// The quota that a status names.
fn quota(status: &Status) -> String {
    use tonic_types::StatusExt as _;
    let failure = status.get_details_quota_failure().expect("QuotaFailure");
    failure.violations[0].subject.clone()
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_the_mount_and_leaves_what_was_there() {
    let sandbox = small().await;
    let write = |content: Vec<u8>| {
        let mut files = sandbox.files();
        async move { files.write_file(upload("a", &content)).await }
    };
    write(b"old".to_vec()).await.expect("fits");
    let refused = write(vec![1; 2 << 20]).await.expect_err("does not fit");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::ResourceExhausted, "DISK_FULL")
    );
    assert_eq!(quota(&refused), "/workspace");
    assert!(
        refused.message().contains("/workspace"),
        "{}",
        refused.message()
    );
    let finished = sandbox.run(sandbox.shell("cat a; ls -A")).await;
    assert_eq!(finished.expect("runs").text(), "olda\n");
    write(vec![1; 512 << 10])
        .await
        .expect("there is room again");
}

#[tokio::test]
async fn a_full_workspace_is_stored_and_room_is_made_by_removing() {
    let sandbox = small().await;
    let fill = sandbox
        .run(sandbox.shell("head -c 4194304 /dev/zero > big"))
        .await;
    let fill = fill.expect("runs");
    assert_ne!(
        fill.exit_code(),
        Some(0),
        "the process is told by the kernel"
    );
    let sync = || async {
        let synced = sandbox.files().sync_files(pb::SyncFilesRequest {}).await;
        synced.expect("synced");
        sandbox.mesh.newest().into_keys().collect::<Vec<_>>()
    };
    assert_eq!(sync().await, [b"big"]);
    let directory = pb::MakeDirectoryRequest {
        path: b"d".to_vec(),
        ..Default::default()
    };
    let remove = pb::RemoveFileRequest {
        path: b"big".to_vec(),
        recursive: false,
    };
    sandbox.files().remove_file(remove).await.expect("removed");
    let made = sandbox.files().make_directory(directory).await;
    made.expect("there is room");
    assert_eq!(sync().await, [b"d"]);
}

#[tokio::test]
async fn a_version_that_does_not_fit_is_reported_as_that() {
    let sandbox = Sandbox::spare_in(bounded_folder(SIZE)).await;
    let version = sandbox.mesh.write(&[(file("big"), &[7; 2 << 20])]);
    let attached = sandbox.attach(pb::AttachRequest {
        workspace_version: version,
        ..sandbox.attachment()
    });
    attached.await.expect("attached");
    let message = sandbox.mesh.reported(|event| match event {
        Event::HydrateFailed(failed) => Some(failed.message.clone()),
        Event::Hydrated(_) | Event::Synced(_) | Event::CommandEnded(_) => None,
    });
    let message = message.await;
    assert!(message.contains("/workspace is full"), "{message}");
}
