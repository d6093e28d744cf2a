//! The audit log.

use sandgate_api::audit::v1 as pb;
use sandgate_audit::{Decision, Entry, HASH_BYTES, seal};
use sandgate_rpc::Service;
use sandgate_types::Timestamp;
use tonic::{Code, Status};

use crate::harness::{Harness, fields, reason};

const WRITER: &str = "auth-gateway/a1";

fn chain(length: i64) -> Vec<pb::Record> {
    let mut previous = [0; HASH_BYTES];
    (1..=length)
        .map(|sequence| {
            let entry = Entry {
                decision: if sequence % 2 == 0 {
                    Decision::Refused
                } else {
                    Decision::Allowed
                },
                action: format!("call {sequence}"),
                reason: String::new(),
                tenant: if sequence == 3 {
                    "umbrella".into()
                } else {
                    "acme".into()
                },
                principal: "k".into(),
                sandbox: String::new(),
                request_id: String::new(),
            };
            let record = seal(
                WRITER,
                sequence,
                Timestamp::from_seconds(sequence),
                previous,
                entry,
            );
            previous = record.hash.clone().try_into().expect("a hash");
            record
        })
        .collect()
}

async fn append(
    orchestrator: &Harness,
    service: Service,
    records: &[pb::Record],
) -> Result<i64, Status> {
    let request = pb::AppendRecordsRequest {
        records: records.to_vec(),
    };
    let answer = orchestrator
        .audit_as(service)
        .append_records(request)
        .await?;
    Ok(answer.into_inner().acknowledged)
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_kept_once_and_in_order() {
    let orchestrator = Harness::start().await;
    let records = chain(5);
    assert_eq!(
        append(&orchestrator, Service::AuthGateway, &records[..3])
            .await
            .expect("kept"),
        3
    );
    assert_eq!(
        append(&orchestrator, Service::AuthGateway, &records[1..])
            .await
            .expect("kept"),
        5
    );
    assert_eq!(
        append(&orchestrator, Service::AuthGateway, &records[..2])
            .await
            .expect("known"),
        5
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_a_change_and_another_services_name_are_refused() {
    let orchestrator = Harness::start().await;
    let records = chain(5);
    let refused = append(&orchestrator, Service::AuthGateway, &records[1..])
        .await
        .expect_err("a gap");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "AUDIT_GAP")
    );
    append(&orchestrator, Service::AuthGateway, &records[..2])
        .await
        .expect("kept");
    let mut changed = records.clone();
    changed[0].action = "another".into();
    changed[0].hash = vec![0; 32];
    let refused = append(&orchestrator, Service::AuthGateway, &changed[..1])
        .await
        .expect_err("changed");
    assert_eq!(reason(&refused), "AUDIT_CHAIN_BROKEN");
    let mut forged = records.clone();
    forged[2].action = "another".into();
    let refused = append(&orchestrator, Service::AuthGateway, &forged[2..3])
        .await
        .expect_err("forged");
    assert_eq!(reason(&refused), "AUDIT_CHAIN_BROKEN");
    let refused = append(&orchestrator, Service::StorageSync, &records[2..])
        .await
        .expect_err("another's name");
    assert_eq!(refused.code(), Code::PermissionDenied);
    let refused = append(&orchestrator, Service::AuthGateway, &[])
        .await
        .expect_err("none");
    assert_eq!(fields(&refused), ["records"]);
    assert_eq!(
        append(&orchestrator, Service::AuthGateway, &records[2..])
            .await
            .expect("kept"),
        5
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_reads_its_own_records_newest_first_in_pages() {
    let orchestrator = Harness::start().await;
    append(&orchestrator, Service::AuthGateway, &chain(5))
        .await
        .expect("kept");
    let mut actions = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListRecordsRequest {
            page_size: 2,
            page_token,
            ..Default::default()
        };
        let page = orchestrator.list_records(request).await.expect("a page");
        actions.extend(page.records.into_iter().map(|record| record.action));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(actions, ["call 5", "call 4", "call 2", "call 1"]);
    let refusals = pb::ListRecordsRequest {
        refused_only: true,
        ..Default::default()
    };
    let refusals = orchestrator.list_records(refusals).await.expect("a page");
    assert_eq!(refusals.records.len(), 2);
}
