//! What is in the workspace and cannot be stored: counted, never silently missing.

use super::harness::Sandbox;
use super::sync::{paths, sync};

/// A name like those under which files are written until they are complete.
const PARTIAL: &str = ".sandgate-partial-0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn what_cannot_be_stored_is_counted_by_every_sync_and_keeps_nothing_else_from_it() {
    let sandbox = Sandbox::attached().await;
    std::fs::write(sandbox.at(PARTIAL), b"the agent's own").expect("a file");
    // One byte more than a version takes of one file, and no block of a disk.
    let large = std::fs::File::create(sandbox.at("large")).expect("a file");
    large.set_len((1 << 43) + 1).expect("a size");
    std::fs::write(sandbox.at("small"), b"x").expect("a file");
    for round in ["the first", "the next"] {
        let synced = sync(&sandbox).await.expect("synced");
        assert_eq!(synced.skipped, 2, "{round}");
        assert_eq!(paths(&sandbox), ["small"], "{round}");
    }
    large.set_len(1).expect("a size");
    std::fs::remove_file(sandbox.at(PARTIAL)).expect("removed");
    assert_eq!(sync(&sandbox).await.expect("synced").skipped, 0);
    assert_eq!(paths(&sandbox), ["large", "small"]);
}
