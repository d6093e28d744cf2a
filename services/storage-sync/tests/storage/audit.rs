//! What storage-sync decides is on record before its answer leaves.

use crate::harness::{Harness, own, reason, session, user};
use sandgate_api::audit::v1::{Decision, Record};
use sandgate_api::storage::v1 as pb;
use sandgate_audit::{HASH_BYTES, verify};
use tonic::Code;

const WRITE: &str = "sandgate.storage.v1.WorkspaceService/WriteFile";
const RESTORE: &str = "sandgate.storage.v1.WorkspaceService/RestoreVersion";

fn decided<'a>(records: &'a [Record], action: &str, decision: Decision) -> &'a Record {
    let found = records
        .iter()
        .find(|record| record.action == action && record.decision() == decision);
    found.unwrap_or_else(|| panic!("{action} {decision:?} in {records:?}"))
}

fn written(expected_version: &str) -> tokio_stream::Iter<std::vec::IntoIter<pb::WriteFileRequest>> {
    use pb::write_file_request::Part;
    let header = pb::WriteFileHeader {
        workspace: own(),
        path: b"notes.txt".to_vec(),
        expected_version: expected_version.to_owned(),
        ..Default::default()
    };
    let parts = [Part::Header(header), Part::Data(b"hello".to_vec())];
    let messages = parts.map(|part| pb::WriteFileRequest { part: Some(part) });
    tokio_stream::iter(messages.to_vec())
}

#[tokio::test]
async fn a_write_and_a_restore_without_a_sandbox_are_on_record_and_so_is_one_on_a_moved_head() {
    let storage = Harness::start().await;
    let mut client = storage.workspaces(user("acme", "ann"));
    let first = client.write_file(written("")).await.expect("written");
    let first = first.into_inner().version.expect("a version").version;
    let records = storage.records();
    let record = decided(&records, WRITE, Decision::Allowed);
    assert_eq!(record.tenant, "acme");
    assert!(!record.principal.is_empty() && !record.request_id.is_empty());

    client.write_file(written("")).await.expect("written again");
    let refused = client.write_file(written(&first)).await.expect_err("moved");
    assert_eq!(refused.code(), Code::Aborted);
    let records = storage.records();
    let record = decided(&records, WRITE, Decision::Refused);
    assert_eq!(record.reason, "HEAD_MOVED");

    let restore = pb::RestoreVersionRequest {
        workspace: own(),
        version: first,
        request_id: String::new(),
    };
    client.restore_version(restore).await.expect("restored");
    let records = storage.records();
    decided(&records, RESTORE, Decision::Allowed);
    verify([0; HASH_BYTES], &records).expect("one chain");
    // What was written is in none of them.
    assert!(!format!("{records:?}").contains("notes.txt"));
}

#[tokio::test]
async fn a_refused_sync_is_on_record_under_its_sandbox() {
    let storage = Harness::start().await;
    let caller = session("acme", "ann", "c", 1);
    let request = pb::OfferChunksRequest {
        upload_id: "nonsense".to_owned(),
        hashes: Vec::new(),
    };
    let mut sync = storage.sync(caller);
    sync.offer_chunks(request)
        .await
        .expect_err("no such upload");
    let records = storage.records();
    let action = "sandgate.storage.v1.SyncService/OfferChunks";
    let record = decided(&records, action, Decision::Refused);
    assert_eq!(record.tenant, "acme");
    assert!(record.sandbox_id.starts_with('s'), "{record:?}");
}

#[tokio::test]
async fn a_caller_whom_the_method_table_refuses_is_on_record() {
    let storage = Harness::start().await;
    let mut sync = storage.sync(user("acme", "ann"));
    let request = pb::BeginUploadRequest {
        parent: String::new(),
    };
    let status = sync.begin_upload(request).await.expect_err("no daemon");
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(reason(&status), "NOT_ALLOWED");
    let records = storage.records();
    let action = "sandgate.storage.v1.SyncService/BeginUpload";
    let record = decided(&records, action, Decision::Refused);
    assert_eq!(
        (record.tenant.as_str(), record.reason.as_str()),
        ("acme", "NOT_ALLOWED")
    );
}
