//! The workspace between sandbox and store.

use std::fs::Permissions;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};

use sandgate_api::orchestrator::v1::report_instance_request::Event;
use sandgate_api::sandbox::v1 as pb;
use sandgate_api::storage::v1 as storage;
use tonic::{Code, Status};

use super::harness::{Sandbox, reason};
use super::store::file;

pub(super) async fn sync(sandbox: &Sandbox) -> Result<pb::SyncFilesResponse, Status> {
    sandbox
        .files()
        .sync_files(pb::SyncFilesRequest {})
        .await
        .map(tonic::Response::into_inner)
}

pub(super) fn paths(sandbox: &Sandbox) -> Vec<String> {
    sandbox
        .mesh
        .newest()
        .into_keys()
        .map(|path| String::from_utf8(path).expect("text"))
        .collect()
}

/// A sandbox that begins with what others wrote.
async fn hydrated(entries: &[(storage::Entry, &[u8])]) -> Sandbox {
    let sandbox = Sandbox::spare().await;
    let version = sandbox.mesh.write(entries);
    let request = pb::AttachRequest {
        workspace_version: version,
        ..sandbox.attachment()
    };
    sandbox.attach(request).await.expect("attached");
    sandbox
}

#[tokio::test]
async fn a_workspace_that_never_held_anything_has_no_version() {
    let sandbox = Sandbox::attached().await;
    let hydrated = sandbox.mesh.reported(|event| match event {
        Event::Hydrated(hydrated) => Some(hydrated.version.clone()),
        Event::HydrateFailed(_) | Event::Synced(_) | Event::CommandEnded(_) => None,
    });
    assert_eq!(hydrated.await, "");
    assert_eq!(
        sync(&sandbox).await.expect("synced"),
        pb::SyncFilesResponse::default()
    );
}

#[tokio::test]
async fn what_a_process_wrote_is_in_the_version_that_a_sync_answers() {
    let sandbox = Sandbox::attached().await;
    let line = "mkdir -p d/e; printf hello > d/e/f; printf '' > empty; ln -s /no/where link; mkfifo pipe; chmod 750 d; chmod 400 empty";
    assert_eq!(
        sandbox
            .run(sandbox.shell(line))
            .await
            .expect("runs")
            .exit_code(),
        Some(0)
    );
    let synced = sync(&sandbox).await.expect("synced");
    assert_eq!(
        (synced.version.as_str(), synced.skipped),
        (sandbox.mesh.head().as_str(), 1)
    );
    assert_eq!(paths(&sandbox), ["d", "d/e", "d/e/f", "empty", "link"]);
    assert_eq!(sandbox.mesh.content("d/e/f"), b"hello");
    let newest = sandbox.mesh.newest();
    assert_eq!(
        (newest[&b"d"[..]].mode, newest[&b"empty"[..]].mode),
        (0o750, 0o400)
    );
    assert_eq!(newest[&b"link"[..]].link_target, b"/no/where");
    let reported = sandbox.mesh.reported(|event| match event {
        Event::Synced(synced) => Some(synced.version.clone()),
        Event::Hydrated(_) | Event::HydrateFailed(_) | Event::CommandEnded(_) => None,
    });
    assert_eq!(reported.await, synced.version);
}

#[tokio::test]
async fn the_tree_that_was_stored_is_the_tree_that_is_brought_in() {
    let directory = storage::Entry {
        kind: storage::EntryKind::Directory.into(),
        mode: 0o550,
        ..file("d")
    };
    let link = storage::Entry {
        kind: storage::EntryKind::Symlink.into(),
        mode: 0o777,
        link_target: b"../../etc/passwd".to_vec(),
        ..file("d/link")
    };
    let sandbox = hydrated(&[(directory, b""), (file("d/f\n"), b"content"), (link, b"")]).await;
    let finished = sandbox
        .run(sandbox.shell("cat d/f*; stat -c '%a %Y' d d/f*; readlink d/link"))
        .await
        .expect("runs");
    assert!(
        finished
            .text()
            .starts_with("content550 1600000000\n640 1600000000\n../../etc/passwd"),
        "{:?}",
        finished.text()
    );
    // Nothing changed, so nothing is stored.
    let (head, uploaded) = (sandbox.mesh.head(), sandbox.mesh.uploaded());
    sync(&sandbox).await.expect("synced");
    assert_eq!(sandbox.mesh.uploaded(), uploaded);
    assert_eq!(paths(&sandbox).len(), 3);
    assert!(sandbox.mesh.head() >= head);
    std::fs::set_permissions(sandbox.at("d"), Permissions::from_mode(0o755))
        .expect("so that it can be removed");
}

#[tokio::test]
async fn a_workspace_that_cannot_be_brought_in_is_reported_and_never_stored() {
    let hostile = file("d/../../f");
    let sandbox = hydrated(&[(hostile, b"x")]).await;
    let message = sandbox.mesh.reported(|event| match event {
        Event::HydrateFailed(failed) => Some(failed.message.clone()),
        Event::Hydrated(_) | Event::Synced(_) | Event::CommandEnded(_) => None,
    });
    assert!(!message.await.is_empty());
    let head = sandbox.mesh.head();
    assert_eq!(
        reason(&sync(&sandbox).await.expect_err("not whole")),
        "NOT_HYDRATED"
    );
    assert_eq!(
        reason(
            &sandbox
                .run(sandbox.shell("true"))
                .await
                .expect_err("not whole")
        ),
        "NOT_HYDRATED"
    );
    assert_eq!(sandbox.mesh.head(), head);
}

#[tokio::test]
async fn a_removed_directory_is_gone_and_a_file_in_its_place_is_stored() {
    let sandbox = Sandbox::attached().await;
    sandbox
        .run(sandbox.shell("mkdir -p d/e x; touch d/e/f x/y keep"))
        .await
        .expect("runs");
    sync(&sandbox).await.expect("synced");
    sandbox
        .run(sandbox.shell("rm -r d x; printf now > x"))
        .await
        .expect("runs");
    sync(&sandbox).await.expect("synced");
    assert_eq!(paths(&sandbox), ["keep", "x"]);
    assert_eq!(sandbox.mesh.content("x"), b"now");
}

#[tokio::test]
async fn what_somebody_else_wrote_meanwhile_stays_beside_ours() {
    let sandbox = Sandbox::attached().await;
    sandbox
        .run(sandbox.shell("printf ours > a"))
        .await
        .expect("runs");
    sandbox.mesh.interfere(file("theirs"));
    let synced = sync(&sandbox).await.expect("synced");
    assert_eq!(synced.version, sandbox.mesh.head());
    assert_eq!(paths(&sandbox), ["a", "theirs"]);
    sandbox
        .run(sandbox.shell("printf more > b"))
        .await
        .expect("runs");
    sync(&sandbox).await.expect("synced");
    assert_eq!(paths(&sandbox), ["a", "b", "theirs"]);
}

#[tokio::test]
async fn a_sync_that_failed_is_simply_done_again() {
    let sandbox = Sandbox::attached().await;
    sandbox
        .run(sandbox.shell("printf ours > a"))
        .await
        .expect("runs");
    sandbox.mesh.set_down(true);
    let refused = sync(&sandbox).await.expect_err("down");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::Unavailable, "STORE_UNAVAILABLE")
    );
    sandbox.mesh.set_down(false);
    sync(&sandbox).await.expect("synced");
    assert_eq!(sandbox.mesh.content("a"), b"ours");
}

#[tokio::test]
async fn changes_are_stored_while_the_agent_works_without_being_asked() {
    let sandbox = Sandbox::attached().await;
    sandbox
        .files()
        .write_file(super::files::upload("a", b"1"))
        .await
        .expect("written");
    let synced = sandbox.mesh.reported(|event| match event {
        Event::Synced(synced) => Some(synced.version.clone()),
        Event::Hydrated(_) | Event::HydrateFailed(_) | Event::CommandEnded(_) => None,
    });
    assert_eq!(synced.await, sandbox.mesh.head());
    assert_eq!(sandbox.mesh.content("a"), b"1");
}

#[tokio::test]
async fn five_sparse_gibibytes_cost_what_they_hold_and_survive_the_way_there_and_back() {
    const SIZE: u64 = 5 << 30;
    let sandbox = Sandbox::attached().await;
    let sparse = std::fs::File::create(sandbox.at("sparse")).expect("a file");
    sparse.set_len(SIZE).expect("a size");
    sparse
        .write_all_at(b"in the middle", 3 << 30)
        .expect("written");
    drop(sparse);
    sync(&sandbox).await.expect("synced");
    let entry = sandbox
        .mesh
        .newest()
        .remove(&b"sparse"[..])
        .expect("an entry");
    assert_eq!(entry.size, SIZE);
    assert_eq!(
        entry.chunks.iter().map(|chunk| chunk.length).sum::<u64>(),
        SIZE
    );
    assert!(entry.chunks.len() <= 3, "{:?}", entry.chunks);
    let other = Sandbox::spare().await;
    other.mesh.take_chunks(&sandbox.mesh);
    let version = other.mesh.write(&[(entry, b"")]);
    other
        .attach(pb::AttachRequest {
            workspace_version: version,
            ..other.attachment()
        })
        .await
        .expect("attached");
    let line = "stat -c %s sparse; [ $(stat -c %b sparse) -le 256 ] && echo few blocks; tail -c +3221225473 sparse | head -c 13";
    let finished = other.run(other.shell(line)).await.expect("runs");
    assert_eq!(
        finished.text(),
        format!("{SIZE}\nfew blocks\nin the middle")
    );
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_is_stored_as_it_is_at_rest() {
    let sandbox = Sandbox::attached().await;
    let line = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo $i >> log; done";
    let mut stream = sandbox
        .processes()
        .run_process(sandbox.shell(line))
        .await
        .expect("runs")
        .into_inner();
    super::harness::next(&mut stream).await;
    sync(&sandbox).await.expect("synced");
    super::harness::finish(stream).await;
    sync(&sandbox).await.expect("synced");
    assert_eq!(
        sandbox.mesh.content("log"),
        std::fs::read(sandbox.at("log")).expect("there")
    );
}
