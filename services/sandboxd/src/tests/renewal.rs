//! The session's tokens, replaced while they are good.

use std::time::Duration;

use sandgate_api::sandbox::v1 as pb;
use sandgate_api::storage::v1::BeginUploadRequest;
use sandgate_testkit::TestClock;
use sandgate_types::{Clock as _, SystemClock};

use super::harness::{NEVER, Sandbox};

#[tokio::test]
async fn both_tokens_are_renewed_before_they_expire() {
    let sandbox = Sandbox::spare().await;
    let soon = SystemClock.now().plus(Duration::from_millis(600));
    let request = pb::AttachRequest {
        tokens_expire_at: Some(sandgate_api::timestamp_to(soon)),
        ..sandbox.attachment()
    };
    sandbox.attach(request).await.expect("attached");
    sandbox.mesh.renewed(1).await;
    let used = used_by(&sandbox, "daemon-renewed-1", async || {
        let write = super::files::upload("a", b"1");
        sandbox.files().write_file(write).await.expect("written");
        let synced = sandbox.files().sync_files(pb::SyncFilesRequest {}).await;
        synced.expect("synced");
    })
    .await;
    assert!(
        used.iter().all(|value| value.contains("daemon")),
        "the agent's token is never used for our own calls"
    );
    used_by(&sandbox, "agent-renewed-1", async || {
        let mut agent = super::agent::grpc(&sandbox).await;
        let called = agent.begin_upload(BeginUploadRequest::default()).await;
        called.expect("forwarded");
    })
    .await;
}

/// Calls until `token` is used, which is as soon as the keeper has heard of it; answers all that was used.
async fn used_by(sandbox: &Sandbox, token: &str, call: impl AsyncFn()) -> Vec<String> {
    let used = async {
        loop {
            call().await;
            let used = sandbox.mesh.authorizations();
            if used.contains(&format!("Bearer {token}")) {
                return used;
            }
        }
    };
    tokio::time::timeout(NEVER, used).await.expect(token)
}

#[tokio::test]
async fn a_renewal_that_fails_is_tried_again_while_the_pair_is_good() {
    let clock = TestClock::new();
    let sandbox = Sandbox::spare_at(clock.shared()).await;
    sandbox.mesh.set_down(true);
    // The clock stands still, so there is time for any number of attempts.
    let soon = clock.now().plus(Duration::from_millis(600));
    let request = pb::AttachRequest {
        tokens_expire_at: Some(sandgate_api::timestamp_to(soon)),
        ..sandbox.attachment()
    };
    sandbox.attach(request).await.expect("attached");
    sandbox.mesh.renewals_asked(3).await;
    let tried = sandbox.mesh.authorizations();
    assert!(
        tried.iter().all(|value| value == "Bearer daemon-canary"),
        "{tried:?}"
    );
    sandbox.mesh.set_down(false);
    sandbox.mesh.renewed(1).await;
}
