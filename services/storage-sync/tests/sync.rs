//! A sandbox's daemon syncs its workspace and brings it in again, through the wire.

mod harness;

use std::time::Duration;

use harness::{
    Harness, directory, entry, field, file, hash, of_another_sandbox, own, reason, removed,
    session, upsert, user,
};
use sandgate_api::storage::v1 as pb;
use tonic::Code;

#[tokio::test]
async fn an_empty_workspace_hydrates_to_an_empty_stream_that_is_done() {
    let storage = Harness::start().await;
    let (header, entries) = storage.daemon().await.hydrate("").await.expect("hydrated");
    assert_eq!(header, pb::HydrateHeader::default());
    assert!(entries.is_empty());
}

#[tokio::test]
async fn a_workspace_comes_back_as_it_was_synced() {
    let storage = Harness::start().await;
    let mut daemon = storage.daemon().await;
    let large: Vec<u8> = (0..700_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let (large, small) = (daemon.cut(&large), vec![b"small".to_vec()]);
    let link = pb::Entry {
        link_target: b"/etc/\xffpasswd".to_vec(),
        ..entry(b"\nlink\n", pb::EntryKind::Symlink)
    };
    let sparse = pb::Entry {
        size: (5 << 30) + 5,
        chunks: vec![
            pb::ChunkRef {
                hash: Vec::new(),
                length: 1 << 30,
            },
            pb::ChunkRef {
                hash: hash(b"small"),
                length: 5,
            },
            pb::ChunkRef {
                hash: Vec::new(),
                length: 4 << 30,
            },
        ],
        ..entry(b"d/sparse", pb::EntryKind::File)
    };
    let upload = daemon.begin("").await;
    daemon.send(&upload, &large).await.expect("sent");
    daemon.send(&upload, &small).await.expect("sent");
    let longest = [b'x'; 255];
    let changes = vec![
        upsert(link.clone()),
        directory(b"d"),
        file(b"d/empty", &[]),
        upsert(sparse.clone()),
        file(b"large", &large),
        file(&longest, &small),
    ];
    let version = daemon
        .commit(&upload, "", changes)
        .await
        .expect("committed");
    assert_eq!(
        (version.entries, version.origin),
        (6, pb::Origin::Sync.into())
    );

    let (header, entries) = daemon.hydrate("").await.expect("hydrated");
    assert_eq!((header.version, header.entries), (version.version, 6));
    let paths: Vec<_> = entries
        .iter()
        .map(|(entry, _)| entry.path.as_slice())
        .collect();
    assert_eq!(
        paths,
        [
            b"\nlink\n".as_slice(),
            b"d",
            b"d/empty",
            b"d/sparse",
            b"large",
            &longest
        ]
    );
    assert_eq!(entries[0].0, link);
    assert!(entries[2].1.is_empty());
    assert_eq!(
        entries[3].1,
        [(1 << 30, b"small".to_vec())],
        "holes are not sent"
    );
    assert_eq!(
        entries[3].0,
        pb::Entry {
            chunks: Vec::new(),
            ..sparse
        }
    );
    let content: Vec<u8> = entries[4]
        .1
        .iter()
        .flat_map(|(_, data)| data.clone())
        .collect();
    assert_eq!(content, large.concat());
    assert_eq!(entries[4].1[1].0, large[0].len() as u64);
}

#[tokio::test]
async fn only_what_changed_is_sent_and_kept_entries_stay() {
    let storage = Harness::start().await;
    let mut daemon = storage.daemon().await;
    let first = daemon.sync("", &[(b"a", b"one"), (b"b", b"two")]).await;
    let upload = daemon.begin(&first.version).await;
    let chunks = [b"one".to_vec(), b"three".to_vec()];
    assert_eq!(daemon.missing(&upload, &chunks).await, [1]);
    daemon.send(&upload, &chunks[1..]).await.expect("sent");
    let changes = vec![removed(b"a"), file(b"c", &chunks)];
    let second = daemon
        .commit(&upload, &first.version, changes)
        .await
        .expect("committed");
    assert_eq!(second.parent, first.version);
    let paths = |entries: harness::Hydrated| {
        entries
            .into_iter()
            .map(|(entry, _)| entry.path)
            .collect::<Vec<_>>()
    };
    let (_, now) = daemon.hydrate("").await.expect("hydrated");
    assert_eq!(paths(now), [b"b", b"c"]);
    let (_, before) = daemon.hydrate(&first.version).await.expect("hydrated");
    assert_eq!(paths(before), [b"a", b"b"]);
}

#[tokio::test]
async fn a_daemon_hears_of_no_chunk_that_another_workspace_has_and_may_not_refer_to_it() {
    let storage = Harness::start().await;
    storage
        .daemon()
        .await
        .sync("", &[(b"secret", b"known only to ann")])
        .await;
    let guess = [b"known only to ann".to_vec()];
    for other in [
        session("acme", "bob", "c", 1),
        session("acme", "ann", "other", 1),
    ] {
        let mut daemon = storage.daemon_of(other).await;
        let upload = daemon.begin("").await;
        assert_eq!(daemon.missing(&upload, &guess).await, [0]);
        let status = daemon
            .commit(&upload, "", vec![file(b"f", &guess)])
            .await
            .expect_err("foreign");
        assert_eq!(field(&status), "changes[0].chunks[0].hash");
    }
}

#[tokio::test]
async fn an_upload_belongs_to_the_instance_that_began_it() {
    let storage = Harness::start().await;
    let upload = storage.daemon().await.begin("").await;
    for other in [
        session("acme", "ann", "c", 2),
        session("acme", "bob", "c", 1),
    ] {
        let mut daemon = storage.daemon_of(other).await;
        let status = daemon
            .send(&upload, &[b"x".to_vec()])
            .await
            .expect_err("foreign");
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::NotFound, "UPLOAD_UNKNOWN")
        );
    }
}

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
async fn an_upload_of_yesterday_is_forgotten() {
    let storage = Harness::start().await;
    let mut daemon = storage.daemon().await;
    let upload = daemon.begin("").await;
    daemon.send(&upload, &[b"x".to_vec()]).await.expect("sent");
    storage.clock.advance(Duration::from_secs(24 * 3600));
    let status = daemon
        .commit(&upload, "", vec![file(b"f", &[b"x".to_vec()])])
        .await
        .expect_err("old");
    assert_eq!(reason(&status), "UPLOAD_UNKNOWN");
    let fresh = daemon.begin("").await;
    assert_eq!(daemon.missing(&fresh, &[b"x".to_vec()]).await, [0]);
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
async fn a_damaged_or_swapped_object_is_an_error_and_never_content() {
    let storage = Harness::start().await;
    let mut daemon = storage.daemon().await;
    daemon
        .sync("", &[(b"a", b"content of a"), (b"b", b"content of b")])
        .await;
    let chunks: Vec<_> = storage
        .objects()
        .into_iter()
        .filter(|path| path.components().any(|part| part.as_os_str() == "c"))
        .collect();
    std::fs::copy(&chunks[0], &chunks[1]).expect("swapped");
    let status = daemon.hydrate("").await.expect_err("foreign");
    assert_eq!(
        (status.code(), status.message()),
        (Code::Internal, "internal")
    );
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

#[tokio::test]
async fn a_missing_database_is_told_and_waited_for() {
    let storage = Harness::without_database();
    let mut client = storage.workspaces(user("acme", "ann"));
    let request = || pb::ListVersionsRequest {
        workspace: own(),
        ..Default::default()
    };
    let status = client
        .list_versions(request())
        .await
        .expect_err("no database");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "NOT_READY")
    );
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
