//! Files that go while they are stored.
#![expect(
    clippy::disallowed_methods,
    reason = "a test is a process of its own; what it spawns ends with its runtime"
)]

use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};
use sandgate_api::sandbox::v1 as pb;
use tokio::task::JoinHandle;

use super::harness::Sandbox;

/// More than the keeper reads before it asks the store what it lacks; no two chunks are alike.
fn large(seed: u64) -> Vec<u8> {
    let mut content = vec![0; 10 << 20];
    StdRng::seed_from_u64(seed).fill_bytes(&mut content);
    content
}

/// Whether this process, in which the keeper runs, has the file open though it has no name any more.
fn is_held(path: &Path) -> bool {
    let gone = format!("{} (deleted)", path.display());
    let descriptors = std::fs::read_dir("/proc/self/fd").expect("a list");
    descriptors
        .filter_map(|descriptor| std::fs::read_link(descriptor.ok()?.path()).ok())
        .any(|target| target.as_os_str() == gone.as_str())
}

/// A sandbox whose sync waits for the store in the middle of the file `large`.
async fn in_the_middle() -> (Sandbox, JoinHandle<pb::SyncFilesResponse>) {
    let sandbox = Sandbox::attached().await;
    sandbox.mesh.hold_offers(true);
    std::fs::write(sandbox.at("large"), large(1)).expect("a file");
    let mut files = sandbox.files();
    let sync = tokio::spawn(async move {
        let synced = files.sync_files(pb::SyncFilesRequest {}).await;
        synced.expect("synced").into_inner()
    });
    sandbox.mesh.an_offer_waits().await;
    (sandbox, sync)
}

#[tokio::test]
async fn a_file_that_is_removed_while_the_store_is_waited_for_is_not_kept_open() {
    let (sandbox, sync) = in_the_middle().await;
    let path = sandbox.at("large");
    let control = std::fs::File::open(&path).expect("still there");
    std::fs::remove_file(&path).expect("removed");
    assert!(is_held(&path), "by the test itself");
    drop(control);
    assert!(!is_held(&path), "by the keeper");
    sandbox.mesh.hold_offers(false);
    sync.await.expect("no panic");
    assert!(sandbox.mesh.newest().is_empty());
}

#[tokio::test]
async fn a_file_that_is_replaced_while_the_store_is_waited_for_is_stored_as_the_new_one() {
    let (sandbox, sync) = in_the_middle().await;
    std::fs::write(sandbox.at("new"), large(2)).expect("a file");
    std::fs::rename(sandbox.at("new"), sandbox.at("large")).expect("replaced");
    sandbox.mesh.hold_offers(false);
    sync.await.expect("no panic");
    assert!(sandbox.mesh.content("large") == large(2));
}
