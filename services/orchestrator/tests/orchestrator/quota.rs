//! Quotas: what a tenant and its users may use at once, and that nothing of it is lost or used twice.

use std::time::Duration;

use sandgate_api::audit::v1 as audit;
use sandgate_api::orchestrator::v1 as pb;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::{Asker, Harness, fields, meta, of, reason};

/// What the default template gives a sandbox.
const MEMORY: i64 = 2 << 30;

fn quota(user: &str) -> pb::Quota {
    pb::Quota {
        tenant: "acme".to_owned(),
        user: user.to_owned(),
        ..pb::Quota::default()
    }
}

fn of_live(user: &str, live: i32) -> pb::Quota {
    pb::Quota {
        live_sandboxes: Some(live),
        ..quota(user)
    }
}

async fn begin(orchestrator: &Harness, conversation: &str) -> Result<pb::Sandbox, Status> {
    let request = pb::CreateSandboxRequest {
        wait: pb::Wait::None.into(),
        ..of(conversation)
    };
    let answer = orchestrator.create(request).await?;
    Ok(answer.sandbox.expect("a sandbox"))
}

fn refused(status: &Status, quota: &str, of: &str) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(reason(status), "QUOTA_EXCEEDED");
    assert_eq!(
        (meta(status, "quota"), meta(status, "of")),
        (quota.into(), of.into())
    );
    let failure = status.get_details_quota_failure().expect("QuotaFailure");
    assert_eq!(failure.violations[0].subject, format!("{of}/{quota}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_as_many_live_sandboxes_as_its_quota_and_another_none_the_less() {
    let orchestrator = Harness::start().await;
    orchestrator.set_quota(of_live("", 2)).await.expect("set");
    let first = orchestrator.ready("one").await;
    orchestrator.as_user("acme", "bob").ready("two").await;
    let third = begin(&orchestrator, "three").await.expect_err("over");
    refused(&third, "live_sandboxes", "tenant");
    assert_eq!(
        (meta(&third, "used"), meta(&third, "limit")),
        ("2".into(), "2".into())
    );
    orchestrator.as_user("other", "ann").ready("three").await;
    // The same conversation needs nothing more.
    orchestrator.create(of("one")).await.expect("found");
    // What ends gives back, once.
    orchestrator
        .delete(&first.sandbox_id)
        .await
        .expect("deleted");
    orchestrator.ready("three").await;
    begin(&orchestrator, "four").await.expect_err("over again");
    let records = audit::ListRecordsRequest {
        refused_only: true,
        ..audit::ListRecordsRequest::default()
    };
    let records = orchestrator.list_records(records).await.expect("records");
    assert_eq!(records.records[0].reason, "QUOTA_EXCEEDED");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_user_has_the_quota_of_each_user_unless_they_have_their_own() {
    let orchestrator = Harness::start().await;
    orchestrator.set_quota(of_live("*", 1)).await.expect("set");
    orchestrator
        .set_quota(of_live("bob", 2))
        .await
        .expect("set");
    let bob = orchestrator.as_user("acme", "bob");
    orchestrator.ready("a").await;
    refused(
        &begin(&orchestrator, "b").await.expect_err("over"),
        "live_sandboxes",
        "user",
    );
    bob.ready("c").await;
    bob.ready("d").await;
    refused(
        &begin(&bob, "e").await.expect_err("over"),
        "live_sandboxes",
        "user",
    );
    // Without limits it is gone, and that of each user holds.
    orchestrator.set_quota(quota("bob")).await.expect("removed");
    let (holds, used) = bob.quota("", "bob").await.expect("a quota");
    assert_eq!((holds.user.as_str(), holds.live_sandboxes), ("*", Some(1)));
    assert_eq!(used.live_sandboxes, 2, "what is used stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspend_moves_a_sandbox_from_one_quota_to_the_other_and_a_resume_back() {
    let orchestrator = Harness::start().await;
    let limits = pb::Quota {
        suspended_sandboxes: Some(1),
        memory_bytes: Some(2 * MEMORY),
        ..of_live("", 2)
    };
    orchestrator.set_quota(limits).await.expect("set");
    let (first, second) = (orchestrator.ready("a").await, orchestrator.ready("b").await);
    let used = |live, suspended| pb::QuotaUsage {
        live_sandboxes: live,
        suspended_sandboxes: suspended,
        memory_bytes: i64::from(live) * MEMORY,
    };
    let (_, now) = orchestrator.quota("", "").await.expect("a quota");
    assert_eq!(now, used(2, 0));
    orchestrator
        .suspend(&first.sandbox_id)
        .await
        .expect("suspended");
    orchestrator
        .until(&first.sandbox_id, pb::Phase::Suspended)
        .await;
    let (_, now) = orchestrator.quota("", "").await.expect("a quota");
    assert_eq!(now, used(1, 1));
    let over = orchestrator
        .suspend(&second.sandbox_id)
        .await
        .expect_err("over");
    refused(&over, "suspended_sandboxes", "tenant");
    assert_eq!(
        orchestrator
            .get(&second.sandbox_id)
            .await
            .expect("it")
            .phase(),
        pb::Phase::Ready
    );
    orchestrator.ready("c").await;
    let over = orchestrator
        .resume(&first.sandbox_id)
        .await
        .expect_err("over");
    refused(&over, "live_sandboxes", "tenant");
    orchestrator
        .delete(&second.sandbox_id)
        .await
        .expect("deleted");
    orchestrator
        .resume(&first.sandbox_id)
        .await
        .expect("resumed");
    let (_, now) = orchestrator.quota("", "").await.expect("a quota");
    assert_eq!(now, used(2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_mesh_suspends_by_itself_is_not_held_up_by_a_quota() {
    let orchestrator = Harness::start().await;
    let none = pb::Quota {
        suspended_sandboxes: Some(0),
        ..quota("")
    };
    orchestrator.set_quota(none).await.expect("set");
    let idle = orchestrator.ready("a").await;
    orchestrator.clock.advance(Duration::from_secs(31 * 60));
    orchestrator
        .until(&idle.sandbox_id, pb::Phase::Suspended)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_are_refused_beyond_their_rate_and_let_through_after_the_wait() {
    let orchestrator = Harness::start().await;
    let rate = pb::Quota {
        starts_per_second: Some(2),
        ..quota("")
    };
    orchestrator.set_quota(rate).await.expect("set");
    for conversation in ["a", "b"] {
        begin(&orchestrator, conversation).await.expect("within");
    }
    let over = begin(&orchestrator, "c").await.expect_err("over");
    refused(&over, "starts_per_second", "tenant");
    let wait = over
        .get_details_retry_info()
        .expect("RetryInfo")
        .retry_delay;
    let wait = wait.expect("how long");
    assert!(wait <= Duration::from_millis(501), "{wait:?}");
    begin(&orchestrator.as_user("other", "ann"), "c")
        .await
        .expect("another tenant");
    orchestrator.clock.advance(wait);
    begin(&orchestrator, "c").await.expect("after the wait");
    begin(&orchestrator, "d").await.expect_err("one only");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_counted_by_the_templates_limits() {
    let orchestrator = Harness::start().await;
    let limit = pb::Quota {
        memory_bytes: Some(MEMORY + 1),
        ..quota("*")
    };
    orchestrator.set_quota(limit).await.expect("set");
    orchestrator.ready("a").await;
    refused(
        &begin(&orchestrator, "b").await.expect_err("over"),
        "memory_bytes",
        "user",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_are_set_by_administrators_and_seen_by_operators_in_their_tenant() {
    let orchestrator = Harness::start().await;
    let request = orchestrator.request(pb::SetQuotaRequest {
        quota: Some(of_live("", 1)),
    });
    let refused = orchestrator
        .quotas()
        .set_quota(request)
        .await
        .expect_err("no admin");
    assert_eq!(refused.code(), Code::PermissionDenied);
    orchestrator.set_quota(of_live("", 1)).await.expect("set");
    orchestrator.ready("a").await;
    let other = orchestrator.as_user("other", "eve");
    let (seen, used) = other.quota("acme", "").await.expect("nothing");
    assert_eq!((seen.live_sandboxes, used.live_sandboxes), (None, 0));
    let root = orchestrator.as_asker(Asker::administrator());
    let (seen, used) = root.quota("acme", "").await.expect("a quota");
    assert_eq!((seen.live_sandboxes, used.live_sandboxes), (Some(1), 1));
    assert!(seen.updated_at.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_are_listed_page_by_page() {
    let orchestrator = Harness::start().await;
    for user in ["", "*", "ann", "bob"] {
        orchestrator.set_quota(of_live(user, 1)).await.expect("set");
    }
    let root = orchestrator.as_asker(Asker::administrator());
    let (mut users, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = root.request(pb::ListQuotasRequest {
            page_size: 3,
            page_token,
        });
        let page = root
            .quotas()
            .list_quotas(request)
            .await
            .expect("a page")
            .into_inner();
        users.extend(page.quotas.into_iter().map(|quota| quota.user));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(users, ["", "*", "ann", "bob"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_cannot_be_is_refused_by_its_field() {
    let orchestrator = Harness::start().await;
    for (quota, field) in [
        (of_live("", -1), "quota.live_sandboxes"),
        (of_live("", 1_000_001), "quota.live_sandboxes"),
        (of_live("a b", 1), "quota.user"),
        (
            pb::Quota {
                tenant: String::new(),
                ..of_live("", 1)
            },
            "quota.tenant",
        ),
        (
            pb::Quota {
                memory_bytes: Some(-1),
                ..quota("")
            },
            "quota.memory_bytes",
        ),
    ] {
        let refused = orchestrator.set_quota(quota).await.expect_err(field);
        assert_eq!(fields(&refused), [field]);
    }
}

/// A hundred of two hundred creates that race over two orchestrators on one database.
async fn race(one: Harness) {
    let two = one.beside().await;
    one.set_quota(of_live("", 100)).await.expect("set");
    let racing = (0..200).map(|number| {
        let at = if number % 2 == 0 { &one } else { &two };
        async move { begin(at, &format!("c-{number}")).await }
    });
    let answers = futures_util::future::join_all(racing).await;
    let refusals: Vec<_> = answers
        .iter()
        .filter_map(|answer| answer.as_ref().err())
        .collect();
    assert_eq!(refusals.len(), 100);
    for refusal in refusals {
        refused(refusal, "live_sandboxes", "tenant");
    }
    let (_, used) = two.quota("", "").await.expect("a quota");
    assert_eq!(used.live_sandboxes, 100);
    let list = pb::ListSandboxesRequest {
        page_size: 1_000,
        ..pb::ListSandboxesRequest::default()
    };
    let live = one.list(list).await.expect("a list").sandboxes;
    assert_eq!(live.len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_creates_over_two_orchestrators_end_with_as_many_as_the_quota_on_postgres() {
    if let Some(one) = Harness::start_on_postgres().await {
        race(one).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_creates_over_two_orchestrators_end_with_as_many_as_the_quota_on_sqlite() {
    race(Harness::start().await).await;
}
