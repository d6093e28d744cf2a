//! A sandbox's daemon sends what changed, and brings its workspace in again.

use std::time::Duration;

use sandgate_api::storage::v1 as pb;
use tonic::Code;

use crate::harness::{
    Harness, Hydrated, directory, entry, field, file, hash, own, reason, removed, session, upsert,
    user,
};

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
    let paths = |entries: Hydrated| {
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
