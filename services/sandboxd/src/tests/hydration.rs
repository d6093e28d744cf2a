//! How the workspace comes in when not everything is well.

use sandgate_api::orchestrator::v1::report_instance_request::Event;
use sandgate_api::sandbox::v1 as pb;

use super::harness::Sandbox;
use super::store::file;
use super::sync::{paths, sync};

/// Attaches with what the store holds, and answers what is reported of it.
async fn brought(sandbox: &Sandbox) -> Result<String, String> {
    let version = sandbox.mesh.write(&[(file("a"), b"1"), (file("b"), b"2")]);
    let attached = sandbox.attach(pb::AttachRequest {
        workspace_version: version,
        ..sandbox.attachment()
    });
    attached.await.expect("attached");
    let outcome = sandbox.mesh.reported(|event| match event {
        Event::Hydrated(hydrated) => Some(Ok(hydrated.version.clone())),
        Event::HydrateFailed(failed) => Some(Err(failed.message.clone())),
        Event::Synced(_) | Event::CommandEnded(_) => None,
    });
    outcome.await
}

#[tokio::test]
async fn a_store_that_restarts_meanwhile_is_waited_for() {
    let sandbox = Sandbox::spare().await;
    sandbox.mesh.fail_hydrates(2);
    let version = brought(&sandbox).await.expect("in the end");
    assert_eq!(version, sandbox.mesh.head());
    assert_eq!(std::fs::read(sandbox.at("b")).expect("there"), b"2");
}

#[tokio::test]
async fn a_version_of_more_entries_than_are_synced_is_not_begun() {
    let sandbox = Sandbox::spare().await;
    sandbox.mesh.claim_entries(250_001);
    let message = brought(&sandbox).await.expect_err("too many");
    assert!(message.contains("more than 250000 entries"), "{message}");
    assert!(!sandbox.at("a").exists());
}

#[tokio::test]
async fn what_was_brought_in_is_not_read_again_and_a_change_right_after_is_seen() {
    let sandbox = Sandbox::spare().await;
    let version = brought(&sandbox).await.expect("brought in");
    assert_eq!(sync(&sandbox).await.expect("synced").version, version);
    assert_eq!(sandbox.mesh.begun(), 0, "nothing was offered to the store");
    std::fs::write(sandbox.at("a"), b"3").expect("written");
    sync(&sandbox).await.expect("synced");
    assert_eq!(sandbox.mesh.content("a"), b"3");
    assert_eq!(paths(&sandbox), ["a", "b"]);
}
