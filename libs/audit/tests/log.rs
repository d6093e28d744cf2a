//! What a log took is on disk, in order, and outlives a crash; what was shipped goes.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_api::audit::v1::{AppendRecordsRequest, AppendRecordsResponse};
use sandgate_audit::{Backlog, Decision, Entry, HASH_BYTES, Log, Shipped, ship, verify};
use sandgate_types::{AuditEventId, SystemClock};
use tonic::Status;

fn entry(action: &str) -> Entry {
    Entry {
        decision: Decision::Allowed,
        action: action.to_owned(),
        reason: String::new(),
        tenant: "a".to_owned(),
        principal: "k".to_owned(),
        sandbox: "s".to_owned(),
        request_id: "r".to_owned(),
    }
}

fn open(folder: &Path, seed: u64) -> Log {
    let start = AuditEventId::random(&mut StdRng::seed_from_u64(seed));
    Log::open(folder, "auth-gateway", &start, Arc::new(SystemClock)).expect("an open log")
}

#[tokio::test]
async fn records_are_on_disk_in_order_when_their_receipts_say_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = open(folder.path(), 1);
    let receipts: Vec<_> = (0..100)
        .map(|number| log.append(entry(&number.to_string())).expect("taken"))
        .collect();
    for receipt in receipts {
        receipt.durable().await.expect("written");
    }
    let batch = Backlog::open(folder.path())
        .expect("a backlog")
        .next(1_000)
        .expect("readable")
        .expect("records");
    assert_eq!(batch.writer, log.writer());
    let actions: Vec<String> = batch
        .records
        .iter()
        .map(|record| record.action.clone())
        .collect();
    assert_eq!(actions, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
    verify([0; HASH_BYTES], &batch.records).expect("an unbroken chain");
}

#[tokio::test]
async fn half_a_frame_at_the_end_hides_nothing_before_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = open(folder.path(), 1);
    log.append(entry("whole"))
        .expect("taken")
        .durable()
        .await
        .expect("written");
    drop(log);
    let segment = std::fs::read_dir(folder.path())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.extension().is_some_and(|ending| ending == "segment"))
        .expect("a segment");
    let mut file = OpenOptions::new()
        .append(true)
        .open(segment)
        .expect("the segment");
    file.write_all(&[200, 0, 0, 0, 1, 2]).expect("half a frame");
    let batch = Backlog::open(folder.path())
        .expect("a backlog")
        .next(10)
        .expect("readable")
        .expect("records");
    assert_eq!(batch.records.len(), 1);
}

#[tokio::test]
async fn what_was_acknowledged_is_not_shipped_again_by_a_later_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = open(folder.path(), 1);
    for number in 0..3 {
        first
            .append(entry(&number.to_string()))
            .expect("taken")
            .durable()
            .await
            .expect("written");
    }
    let writer = first.writer().to_owned();
    drop(first);
    let mut backlog = Backlog::open(folder.path()).expect("a backlog");
    backlog.acknowledge(&writer, 2).expect("noted");

    let _second = open(folder.path(), 2);
    let mut backlog = Backlog::open(folder.path()).expect("a backlog");
    let batch = backlog.next(10).expect("readable").expect("records");
    let numbers: Vec<i64> = batch.records.iter().map(|record| record.sequence).collect();
    assert_eq!(
        numbers,
        [3],
        "an earlier start's rest is shipped by the next"
    );
    backlog.acknowledge(&writer, 3).expect("noted");
    assert!(backlog.next(10).expect("readable").is_none());
}

#[tokio::test]
async fn a_folder_that_is_gone_stops_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("a file");
    let start = AuditEventId::random(&mut StdRng::seed_from_u64(1));
    assert!(Log::open(&file, "token", &start, Arc::new(SystemClock)).is_err());
}

#[tokio::test]
async fn what_earlier_starts_left_and_was_acknowledged_is_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = || std::fs::read_dir(folder.path()).expect("a folder").count();
    let first = open(folder.path(), 1);
    for number in 0..3 {
        let receipt = first.append(entry(&number.to_string())).expect("taken");
        receipt.durable().await.expect("written");
    }
    let writer = first.writer().to_owned();
    let mut backlog = Backlog::open(folder.path()).expect("a backlog");
    backlog.acknowledge(&writer, 2).expect("noted");
    drop(first);
    let mut backlog = Backlog::open(folder.path()).expect("a backlog");
    assert_eq!(files(), 2, "a record is not acknowledged yet");
    backlog.acknowledge(&writer, 3).expect("noted");
    let living = open(folder.path(), 2);
    Backlog::open(folder.path()).expect("a backlog");
    assert_eq!(files(), 1, "what is being written stays, empty as it is");
    let receipt = living.append(entry("on")).expect("taken");
    receipt.durable().await.expect("written");
    assert_eq!(living.append(entry("and on")).expect("taken").sequence(), 2);
}

#[tokio::test]
async fn a_segment_that_was_tampered_with_is_never_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = open(folder.path(), 1);
    let receipt = log.append(entry("done")).expect("taken");
    receipt.durable().await.expect("written");
    let writer = log.writer().to_owned();
    Backlog::open(folder.path())
        .expect("a backlog")
        .acknowledge(&writer, 1)
        .expect("noted");
    drop(log);
    let segment = std::fs::read_dir(folder.path())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.extension().is_some_and(|ending| ending == "segment"))
        .expect("a segment");
    let mut file = OpenOptions::new()
        .append(true)
        .open(&segment)
        .expect("the segment");
    file.write_all(b"something else").expect("written");
    Backlog::open(folder.path()).expect("a backlog");
    assert!(segment.exists());
}

#[tokio::test]
async fn every_file_of_the_log_is_for_its_owner_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = open(folder.path(), 1);
    let receipt = log.append(entry("done")).expect("taken");
    receipt.durable().await.expect("written");
    Backlog::open(folder.path())
        .expect("a backlog")
        .acknowledge(log.writer(), 1)
        .expect("noted");
    let files = std::fs::read_dir(folder.path()).expect("a folder");
    let modes = files.map(|file| {
        let facts = file.expect("a file").metadata().expect("its facts");
        facts.permissions().mode() & 0o777
    });
    assert_eq!(modes.collect::<Vec<u32>>(), [0o600, 0o600]);
}

#[tokio::test]
async fn a_writer_that_cannot_be_shipped_keeps_no_other_back_and_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let logs = [
        open(folder.path(), 1),
        open(folder.path(), 2),
        open(folder.path(), 3),
    ];
    for log in &logs {
        let receipt = log.append(entry("done")).expect("taken");
        receipt.durable().await.expect("written");
    }
    let mut writers: Vec<&str> = logs.iter().map(Log::writer).collect();
    writers.sort_unstable();
    // The first is refused; the second cannot be read at all.
    let refused = writers[0].to_owned();
    let name = format!("{}.{:020}.segment", writers[1].replace('/', "."), 2);
    std::fs::create_dir(folder.path().join(name)).expect("no file");
    let send = |batch: AppendRecordsRequest| {
        let last = batch.records.last().expect("at least one");
        let answer = if last.writer == refused {
            Err(Status::failed_precondition("a gap"))
        } else {
            let acknowledged = last.sequence;
            Ok(AppendRecordsResponse { acknowledged })
        };
        std::future::ready(answer)
    };
    let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
    let tell = |shipped: Shipped<'_>| {
        let text = match shipped {
            Shipped::Collected { writer, up_to } => format!("{writer} has {up_to}"),
            Shipped::Stuck(writers) => format!("stuck: {}", writers.join(", ")),
        };
        sender.send(text).expect("the test listens");
    };
    let mut expected = vec![
        format!("{} has 1", writers[1]),
        format!("{} has 1", writers[2]),
        format!("stuck: {}", writers[0]),
        format!("stuck: {}, {}", writers[0], writers[1]),
    ];
    let listening = async {
        while !expected.is_empty() {
            let text = told.recv().await.expect("more");
            expected.retain(|one| *one != text);
        }
    };
    tokio::select! {
        () = ship(folder.path(), send, tell) => panic!("it goes on"),
        heard = tokio::time::timeout(Duration::from_secs(10), listening) => heard.expect("in time"),
    }
}

#[tokio::test]
async fn what_the_collector_has_in_part_goes_on_right_behind_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = open(folder.path(), 1);
    let mut backlog = Backlog::open(folder.path()).expect("a backlog");
    let mut numbers = async |log: &Log, acknowledged: i64| {
        let last = log.append(entry("more")).expect("taken");
        last.durable().await.expect("written");
        if acknowledged > 0 {
            let noted = backlog.acknowledge(log.writer(), acknowledged);
            noted.expect("a note");
        }
        let records = backlog.next_of(log.writer(), 3).expect("readable");
        let numbers = records.iter().map(|record| record.sequence);
        numbers.collect::<Vec<_>>()
    };
    for _ in 0..3 {
        log.append(entry("first")).expect("taken");
    }
    assert_eq!(numbers(&log, 0).await, [1, 2, 3]);
    // Less than it was sent, then what was not sent yet, and then all.
    assert_eq!(numbers(&log, 2).await, [3, 4, 5]);
    assert_eq!(numbers(&log, 2).await, [3, 4, 5]);
    assert_eq!(numbers(&log, 6).await, [7]);
    assert_eq!(numbers(&log, 7).await, [8]);
}
