//! A version is committed: on which head, by which run, and of what.

use sandgate_api::storage::v1 as pb;
use tonic::Code;

use crate::harness::{
    Harness, directory, entry, field, file, hash, of_another_sandbox, reason, removed, session,
    upsert,
};

#[tokio::test]
async fn a_commit_on_a_head_that_moved_is_aborted_and_can_be_made_again_on_the_new_one() {
    let storage = Harness::start().await;
    let mut daemon = storage.daemon().await;
    let first = daemon.sync("", &[(b"a", b"one")]).await;
    let upload = daemon.begin(&first.version).await;
    daemon
        .send(&upload, &[b"mine".to_vec()])
        .await
        .expect("sent");
    let meanwhile = storage
        .daemon_of(of_another_sandbox(session("acme", "ann", "c", 1)))
        .await
        .sync(&first.version, &[(b"b", b"two")])
        .await;
    let changes = || vec![file(b"a", &[b"mine".to_vec()])];
    let status = daemon
        .commit(&upload, &first.version, changes())
        .await
        .expect_err("moved");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Aborted, "HEAD_MOVED")
    );
    let rebased = daemon
        .commit(&upload, &meanwhile.version, changes())
        .await
        .expect("rebased");
    let (_, entries) = daemon.hydrate("").await.expect("hydrated");
    assert_eq!(rebased.parent, meanwhile.version);
    assert_eq!(entries[0].1, [(0, b"mine".to_vec())]);
    assert_eq!(entries[1].1, [(0, b"two".to_vec())]);
}

#[tokio::test]
async fn a_repeated_commit_gets_the_first_ones_answer_and_another_one_is_refused() {
    let storage = Harness::start().await;
    let mut daemon = storage.daemon().await;
    let upload = daemon.begin("").await;
    daemon
        .send(&upload, &[b"x".to_vec(), b"y".to_vec()])
        .await
        .expect("sent");
    let changes = |content: &[u8]| vec![file(b"f", &[content.to_vec()])];
    let first = daemon
        .commit(&upload, "", changes(b"x"))
        .await
        .expect("committed");
    assert_eq!(
        daemon
            .commit(&upload, "", changes(b"x"))
            .await
            .expect("repeated"),
        first
    );
    let status = daemon
        .commit(&upload, "", changes(b"y"))
        .await
        .expect_err("another");
    assert_eq!(reason(&status), "UPLOAD_COMMITTED");
}

#[tokio::test]
async fn a_commit_that_changes_nothing_is_its_parent() {
    let storage = Harness::start().await;
    let mut daemon = storage.daemon().await;
    let first = daemon.sync("", &[(b"a", b"one")]).await;
    let again = daemon.sync(&first.version, &[(b"a", b"one")]).await;
    assert_eq!(again, first);
    let upload = daemon.begin(&first.version).await;
    let none = daemon
        .commit(&upload, &first.version, Vec::new())
        .await
        .expect("nothing");
    assert_eq!(none, first);
}

#[tokio::test]
async fn a_manifest_that_lies_is_refused_by_field_and_nothing_changes() {
    let storage = Harness::start().await;
    let mut daemon = storage.daemon().await;
    let upload = daemon.begin("").await;
    daemon
        .send(&upload, &[b"four".to_vec()])
        .await
        .expect("sent");
    let with = |change: &dyn Fn(&mut pb::Entry)| {
        let chunks = vec![pb::ChunkRef {
            hash: hash(b"four"),
            length: 4,
        }];
        let mut wire = pb::Entry {
            size: 4,
            chunks,
            ..entry(b"f", pb::EntryKind::File)
        };
        change(&mut wire);
        vec![upsert(wire)]
    };
    let chunk = |entry: &mut pb::Entry, length| {
        entry.chunks[0].length = length;
        entry.size = length;
    };
    let cases = [
        (with(&|entry| entry.size = 5), "changes[0].size"),
        (
            with(&|entry| chunk(entry, 3)),
            "changes[0].chunks[0].length",
        ),
        (
            with(&|entry| entry.chunks[0].hash = vec![7; 32]),
            "changes[0].chunks[0].hash",
        ),
        (
            with(&|entry| entry.path = b"../f".to_vec()),
            "changes[0].path",
        ),
        (
            with(&|entry| entry.path = b"a\0b".to_vec()),
            "changes[0].path",
        ),
        (
            with(&|entry| entry.path = vec![b'x'; 256]),
            "changes[0].path",
        ),
        (
            with(&|entry| entry.path = b"d/".repeat(2100)),
            "changes[0].path",
        ),
        (with(&|entry| entry.mode = 0o4755), "changes[0].mode"),
        (
            with(&|entry| entry.path = b"nowhere/f".to_vec()),
            "changes[0].path",
        ),
        (vec![file(b"b", &[]), file(b"a", &[])], "changes[1].path"),
        (vec![file(b"a", &[]), removed(b"a")], "changes[1].path"),
        (vec![file(b"a", &[]), file(b"a/b", &[])], "changes[1].path"),
        (vec![removed(b"/")], "changes[0].path"),
        (vec![pb::Change { change: None }], "changes[0]"),
    ];
    for (changes, expected) in cases {
        let status = daemon
            .commit(&upload, "", changes)
            .await
            .expect_err(expected);
        assert_eq!(
            status.code(),
            Code::InvalidArgument,
            "{expected}: {status:?}"
        );
        assert_eq!(field(&status), expected);
    }
    let (header, _) = daemon.hydrate("").await.expect("hydrated");
    assert_eq!(header.version, "");
}

#[tokio::test]
async fn an_earlier_run_cannot_sync_over_a_later_one() {
    let storage = Harness::start().await;
    let mut earlier = storage.daemon_of(session("acme", "ann", "c", 1)).await;
    let mut later = storage.daemon_of(session("acme", "ann", "c", 2)).await;
    let upload = earlier.begin("").await;
    later.begin("").await;
    let status = earlier
        .commit(&upload, "", vec![directory(b"d")])
        .await
        .expect_err("passed");
    assert_eq!(reason(&status), "RUN_PASSED");
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart() {
    let storage = Harness::start().await;
    let version = storage.daemon().await.sync("", &[(b"a", b"one")]).await;
    let storage = storage.restarted().await;
    let mut daemon = storage.daemon().await;
    let (header, entries) = daemon.hydrate("").await.expect("hydrated");
    assert_eq!(header.version, version.version);
    assert_eq!(entries[0].1, [(0, b"one".to_vec())]);
}
