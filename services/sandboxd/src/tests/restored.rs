//! A version that somebody restores under a running sandbox.

use super::harness::Sandbox;
use super::sync::{paths, sync};

#[tokio::test]
async fn after_a_restore_that_took_a_directory_away_changes_in_it_are_stored_with_it() {
    let sandbox = Sandbox::attached().await;
    let shell = |line: &'static str| {
        let sandbox = &sandbox;
        async move { sandbox.run(sandbox.shell(line)).await.expect("runs") }
    };
    shell("printf 1 > first").await;
    sync(&sandbox).await.expect("synced");
    shell("mkdir -p d/e other; printf 1 > d/e/f; printf 1 > other/f").await;
    sync(&sandbox).await.expect("synced");
    sandbox.mesh.restore(1);
    assert_eq!(paths(&sandbox), ["first"]);
    shell("printf 2 > d/e/f").await;
    sync(&sandbox).await.expect("synced");
    assert_eq!(sandbox.mesh.content("d/e/f"), b"2");
    // The head is ours again, and still lacks what did not change.
    shell("printf 2 > other/f").await;
    sync(&sandbox).await.expect("synced");
    assert_eq!(sandbox.mesh.content("other/f"), b"2");
}
