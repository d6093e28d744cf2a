//! What the orchestrator puts on record of what it does, and of what it refuses.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sandgate_api::audit::v1 as audit;
use sandgate_api::orchestrator::v1 as pb;
use tonic::Code;

use crate::harness::{Asker, Harness, Run, of, reason};

/// The records of the asker's tenant about a sandbox, oldest first; about all when it is empty.
async fn records(orchestrator: &Harness, sandbox_id: &str) -> Vec<audit::Record> {
    let request = audit::ListRecordsRequest {
        page_size: 1_000,
        sandbox_id: sandbox_id.to_owned(),
        ..Default::default()
    };
    let page = orchestrator.list_records(request).await.expect("a page");
    let mut records = page.records;
    records.reverse();
    records
}

fn told(records: &[audit::Record]) -> Vec<(&str, &str)> {
    records
        .iter()
        .map(|record| (record.action.as_str(), record.reason.as_str()))
        .collect()
}

/// Waits until the last record about a sandbox is `action`, and answers all of them.
async fn until_recorded(
    orchestrator: &Harness,
    sandbox_id: &str,
    action: &str,
) -> Vec<audit::Record> {
    let there = async {
        loop {
            let records = records(orchestrator, sandbox_id).await;
            if records.last().is_some_and(|record| record.action == action) {
                return records;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), there)
        .await
        .unwrap_or_else(|_| panic!("never {action}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_and_its_end_are_on_record_in_one_chain() {
    let orchestrator = Harness::start().await;
    let sandbox = orchestrator.ready("demo").await.sandbox_id;
    orchestrator.suspend(&sandbox).await.expect("suspended");
    orchestrator.resume(&sandbox).await.expect("resumed");
    let extended = orchestrator.extend(&sandbox, Some(7_000)).await;
    extended.expect("extended");
    orchestrator.delete(&sandbox).await.expect("deleted");
    let records = records(&orchestrator, &sandbox).await;
    let expected = [
        ("sandbox.create", ""),
        ("sandbox.ready", ""),
        ("sandbox.suspend", ""),
        ("sandbox.suspended", "REQUESTED"),
        ("sandbox.resume", ""),
        ("sandbox.ready", ""),
        ("sandbox.extend", ""),
        ("sandbox.delete", ""),
        ("sandbox.deleted", "REQUESTED"),
    ];
    assert_eq!(told(&records), expected);
    for record in &records {
        let asked = ["create", "suspend", "resume", "extend", "delete"]
            .iter()
            .any(|action| record.action == format!("sandbox.{action}"));
        let principal = orchestrator.asker.principal();
        let expected = if asked { &principal } else { "orchestrator" };
        assert_eq!(record.principal, expected, "{}", record.action);
        assert_eq!(record.decision(), audit::Decision::Allowed);
        assert!(!asked || !record.request_id.is_empty());
    }
    sandgate_audit::verify([0; sandgate_audit::HASH_BYTES], &records).expect("one chain");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_on_record_before_anything_of_it_is_done() {
    let orchestrator = Harness::start().await;
    orchestrator.peers.hold("mint");
    let sandbox = orchestrator.begun("demo").await.sandbox_id;
    orchestrator.peers.asked("mint").await;
    let begun = records(&orchestrator, &sandbox).await;
    assert_eq!(told(&begun), [("sandbox.create", "")]);
    orchestrator.peers.let_go("mint");
    orchestrator.until(&sandbox, pb::Phase::Ready).await;

    orchestrator.peers.hold("drain");
    let deleting = orchestrator.delete(&sandbox);
    let meanwhile = async {
        orchestrator.peers.asked("drain").await;
        let begun = records(&orchestrator, &sandbox).await;
        let last = begun.last().expect("a record");
        assert_eq!(last.action, "sandbox.delete");
        orchestrator.peers.let_go("drain");
    };
    let (deleted, ()) = tokio::join!(deleting, meanwhile);
    deleted.expect("deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_by_itself_is_on_record_with_its_reason() {
    let orchestrator = Harness::start().await;
    let idle = orchestrator.ready("idle").await.sandbox_id;
    orchestrator.clock.advance(Duration::from_secs(31 * 60));
    let records = until_recorded(&orchestrator, &idle, "sandbox.suspended").await;
    let by_itself = [("sandbox.suspend", "IDLE"), ("sandbox.suspended", "IDLE")];
    assert_eq!(told(&records)[2..], by_itself);
    assert_eq!(records[2].principal, "orchestrator");

    orchestrator.clock.advance(Duration::from_secs(30 * 60));
    let records = until_recorded(&orchestrator, &idle, "sandbox.deleted").await;
    let by_itself = [
        ("sandbox.delete", "EXPIRED"),
        ("sandbox.deleted", "EXPIRED"),
    ];
    assert_eq!(told(&records)[4..], by_itself);

    let request = pb::CreateSandboxRequest {
        template: "short".into(),
        ..of("brief")
    };
    let brief = orchestrator.created(request).await.sandbox_id;
    orchestrator.clock.advance(Duration::from_secs(61));
    let records = until_recorded(&orchestrator, &brief, "sandbox.suspended").await;
    assert_eq!(told(&records)[2], ("sandbox.suspend", "SESSION_MAX"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_instance_and_one_that_no_row_wants_are_on_record() {
    let orchestrator = Harness::start().await;
    let sandbox = orchestrator.ready("demo").await;
    let stranger = orchestrator.backend.stranger(&sandbox.sandbox_id);
    orchestrator.backend.gone(&stranger).await;
    let told_of = records(&orchestrator, &sandbox.sandbox_id).await;
    let destroyed = ("instance.destroy", "INSTANCE_UNWANTED");
    assert_eq!(told(&told_of)[2], destroyed);
    orchestrator.backend.lose(&Run::of(&sandbox).instance());
    let told_of = until_recorded(&orchestrator, &sandbox.sandbox_id, "sandbox.failed").await;
    let lost = [
        ("sandbox.fail", "INSTANCE_LOST"),
        ("sandbox.failed", "INSTANCE_LOST"),
    ];
    assert_eq!(told(&told_of)[told_of.len() - 2..], lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_made_again_is_on_record() {
    let orchestrator = Harness::start().await;
    orchestrator.backend.survives.store(true, Ordering::SeqCst);
    orchestrator.peers.hold("attach");
    let sandbox = orchestrator.begun("demo").await.sandbox_id;
    orchestrator.peers.asked("attach").await;
    let orchestrator = orchestrator.restart().await;
    orchestrator.peers.let_go("attach");
    orchestrator.until(&sandbox, pb::Phase::Ready).await;
    let records = records(&orchestrator, &sandbox).await;
    let told = told(&records);
    for expected in [
        ("sandbox.create", ""),
        ("instance.destroy", "INSTANCE_UNWANTED"),
        ("sandbox.start_again", "START_INTERRUPTED"),
        ("sandbox.ready", ""),
    ] {
        assert!(told.contains(&expected), "{expected:?} in {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_whom_the_method_table_refuses_is_on_record() {
    let orchestrator = Harness::start().await;
    let plain = orchestrator.as_asker(Asker::new("acme", "ann").without_operator());
    let request = audit::ListRecordsRequest::default();
    let refused = plain.list_records(request).await.expect_err("no operator");
    assert_eq!(refused.code(), Code::PermissionDenied);
    let records = records(&orchestrator, "").await;
    let [record] = records.as_slice() else {
        panic!("one record: {records:?}");
    };
    assert_eq!(
        (record.action.as_str(), record.reason.as_str()),
        ("sandgate.audit.v1.AuditService/ListRecords", "NOT_ALLOWED")
    );
    assert_eq!(record.decision(), audit::Decision::Refused);
    assert_eq!(record.principal, plain.asker.principal());
    assert!(!record.request_id.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_of_anothers_conversation_is_on_record() {
    let orchestrator = Harness::start().await;
    orchestrator.ready("demo").await;
    let bob = orchestrator.as_user("acme", "robert");
    let refused = bob.create(of("demo")).await.expect_err("ann's");
    assert_eq!(reason(&refused), "CONVERSATION_OWNED");
    let records = records(&orchestrator, "").await;
    let record = records.last().expect("a record");
    assert_eq!(
        (record.decision(), record.reason.as_str()),
        (audit::Decision::Refused, "CONVERSATION_OWNED")
    );
    assert_eq!(record.principal, bob.asker.principal());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_for_anothers_sandbox_is_on_record_as_if_there_were_none() {
    let orchestrator = Harness::start().await;
    let sandbox = orchestrator.ready("demo").await.sandbox_id;
    let bob = orchestrator.as_user("acme", "robert");
    bob.get(&sandbox).await.expect_err("ann's");
    bob.delete(&sandbox).await.expect_err("ann's");
    let nobodys = format!("s{}", "x".repeat(25));
    bob.get(&nobodys).await.expect_err("nobody's");
    let records = records(&orchestrator, "").await;
    let refused: Vec<_> = records
        .iter()
        .filter(|record| record.principal == bob.asker.principal())
        .collect();
    let actions: Vec<_> = refused.iter().map(|record| &record.action[..]).collect();
    let service = "sandgate.orchestrator.v1.SandboxService";
    assert_eq!(
        actions,
        ["GetSandbox", "DeleteSandbox", "GetSandbox"].map(|rpc| format!("{service}/{rpc}"))
    );
    for record in refused {
        assert_eq!(
            (record.decision(), record.reason.as_str()),
            (audit::Decision::Refused, "SANDBOX_UNKNOWN")
        );
        assert_eq!(record.sandbox_id, "");
    }
}
