//! Bad input: what is wrong is named by field and rule, and nothing is changed.

use std::sync::atomic::Ordering;

use sandgate_api::audit::v1 as audit;
use sandgate_api::orchestrator::v1 as pb;
use tonic::{Code, Status};

use crate::harness::{Harness, of, reason, seconds, violations};

const NOT_EMPTY: &str = "must not be empty";
const TOO_LONG: &str = "must have at most 128 bytes";
const STARTS: &str = "must not start with '.' or '-'";
const ALPHABET: &str = "must consist of letters, digits and ._:@=+-";
const SANDBOX_ID: &str = "must be 's' and 25 lower-case letters and digits";
const TTL: &str = "must be between 1s and the template's max_ttl";

/// A refusal of one field, in these words.
fn assert_refused(status: &Status, field: &str, rule: &str) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let expected = (field.to_owned(), rule.to_owned());
    assert_eq!(violations(status), [expected]);
}

/// Nothing is there, nothing was claimed, and the conversation is still anybody's.
async fn assert_nothing_was_made(orchestrator: &Harness) {
    let every = pb::ListSandboxesRequest {
        phases: (1..=10).collect(),
        ..Default::default()
    };
    let listed = orchestrator.list(every).await.expect("a list");
    assert!(listed.sandboxes.is_empty());
    assert_eq!(orchestrator.backend.claims.load(Ordering::SeqCst), 0);
    orchestrator.as_user("acme", "bob").ready("demo").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_a_create_are_named_with_the_rule_that_they_break() {
    let orchestrator = Harness::start().await;
    let long = "x".repeat(129);
    let cases = [
        ("", NOT_EMPTY),
        (long.as_str(), TOO_LONG),
        ("a\u{7}b", ALPHABET),
        ("a\nb", ALPHABET),
        ("a\0b", ALPHABET),
        ("a/b", ALPHABET),
        ("../escape", STARTS),
        ("..", STARTS),
        ("-flag", STARTS),
    ];
    for (text, rule) in cases {
        let refused = orchestrator.create(of(text)).await.expect_err(text);
        assert_refused(&refused, "conversation", rule);
        if text.is_empty() {
            continue;
        }
        let request = pb::CreateSandboxRequest {
            user: text.to_owned(),
            ..of("demo")
        };
        let refused = orchestrator.create(request).await.expect_err(text);
        assert_refused(&refused, "user", rule);
    }
    let long = "x".repeat(65);
    for (text, rule) in [
        (long.as_str(), "must have at most 64 bytes"),
        ("a\u{7}b", "must consist of letters, digits and ._:-"),
        ("../escape", "must consist of letters, digits and ._:-"),
    ] {
        let request = pb::CreateSandboxRequest {
            request_id: text.to_owned(),
            ..of("demo")
        };
        let refused = orchestrator.create(request).await.expect_err(text);
        assert_refused(&refused, "request_id", rule);
    }
    assert_nothing_was_made(&orchestrator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_and_lifetimes_of_a_create_are_named_with_the_rule_that_they_break() {
    let orchestrator = Harness::start().await;
    let label =
        "must consist of lower-case letters, digits and '-', and neither start nor end with '-'";
    for (template, rule) in [
        ("nowhere", "must name a template that ListTemplates answers"),
        ("../default", label),
        ("De\u{7}fault", label),
    ] {
        let request = pb::CreateSandboxRequest {
            template: template.to_owned(),
            ..of("demo")
        };
        let refused = orchestrator.create(request).await.expect_err(template);
        assert_refused(&refused, "template", rule);
    }
    for (ttl, rule) in [
        (0, TTL),
        (-5, TTL),
        (i64::MIN, TTL),
        (2 * 3600 + 1, "must be between 1s and 7200s"),
    ] {
        let request = pb::CreateSandboxRequest {
            ttl: Some(seconds(ttl)),
            ..of("demo")
        };
        let refused = orchestrator.create(request).await.expect_err("a lifetime");
        assert_refused(&refused, "ttl", rule);
    }
    assert_nothing_was_made(&orchestrator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_sandboxes_are_named_by_every_call_that_takes_one() {
    let orchestrator = Harness::start().await;
    let before = orchestrator.ready("demo").await;
    let long = format!("s{}", "x".repeat(1_000));
    for text in ["", long.as_str(), "s\u{7}", "../../etc/passwd", "demo"] {
        let records = audit::ListRecordsRequest {
            sandbox_id: text.to_owned(),
            ..Default::default()
        };
        let mut refusals = vec![
            orchestrator.get(text).await.expect_err("get"),
            orchestrator.suspend(text).await.expect_err("suspend"),
            orchestrator.resume(text).await.expect_err("resume"),
            orchestrator.delete(text).await.expect_err("delete"),
            orchestrator
                .extend(text, Some(60))
                .await
                .expect_err("extend"),
            orchestrator.watch(text).await.expect_err("watch"),
        ];
        if !text.is_empty() {
            let listed = orchestrator.list_records(records).await;
            refusals.push(listed.expect_err("records"));
        }
        for refused in &refusals {
            assert_refused(refused, "sandbox_id", SANDBOX_ID);
        }
    }
    let after = orchestrator.get(&before.sandbox_id).await.expect("there");
    assert_eq!(after, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_out_of_bounds_moves_nothing() {
    let orchestrator = Harness::start().await;
    let before = orchestrator.ready("demo").await;
    for (ttl, rule) in [
        (None, "must be set"),
        (Some(0), TTL),
        (Some(-1), TTL),
        (Some(7_201), "must be between 1s and 7200s"),
    ] {
        let refused = orchestrator.extend(&before.sandbox_id, ttl).await;
        assert_refused(&refused.expect_err("out of bounds"), "ttl", rule);
    }
    let after = orchestrator.get(&before.sandbox_id).await.expect("there");
    assert_eq!(after, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_refused_by_size_and_token_in_every_list() {
    let orchestrator = Harness::start().await;
    for (page_size, page_token, field, rule) in [
        (-1, "", "page_size", "must not be negative"),
        (i32::MIN, "", "page_size", "must not be negative"),
        (
            0,
            "nonsense",
            "page_token",
            "must be the next_page_token of the page before, with the same filter",
        ),
    ] {
        let page_token = page_token.to_owned();
        let sandboxes = pb::ListSandboxesRequest {
            page_size,
            page_token: page_token.clone(),
            ..Default::default()
        };
        let refused = orchestrator.list(sandboxes).await.expect_err("sandboxes");
        assert_refused(&refused, field, rule);
        let templates = pb::ListTemplatesRequest {
            page_size,
            page_token: page_token.clone(),
        };
        let templates = orchestrator.request(templates);
        let refused = orchestrator.templates().list_templates(templates).await;
        assert_refused(&refused.expect_err("templates"), field, rule);
        let records = audit::ListRecordsRequest {
            page_size,
            page_token,
            ..Default::default()
        };
        let refused = orchestrator.list_records(records).await;
        assert_refused(&refused.expect_err("records"), field, rule);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_is_good_for_the_caller_who_got_it_alone() {
    let orchestrator = Harness::start().await;
    let rule = "must be the next_page_token of the page before, with the same filter";
    orchestrator.ready("one").await;
    orchestrator.ready("two").await;
    let others = [
        orchestrator.as_user("acme", "robert"),
        orchestrator.as_user("umbrella", "ann"),
    ];
    let first = pb::ListSandboxesRequest {
        page_size: 1,
        ..Default::default()
    };
    let page = orchestrator.list(first.clone()).await.expect("a page");
    let records = audit::ListRecordsRequest {
        page_size: 1,
        ..Default::default()
    };
    let of_records = orchestrator.list_records(records.clone()).await;
    let of_records = of_records.expect("a page");
    for other in &others {
        let taken = pb::ListSandboxesRequest {
            page_token: page.next_page_token.clone(),
            ..first.clone()
        };
        let refused = other.list(taken).await.expect_err("another's");
        assert_refused(&refused, "page_token", rule);
        let taken = audit::ListRecordsRequest {
            page_token: of_records.next_page_token.clone(),
            ..records.clone()
        };
        let refused = other.list_records(taken).await;
        assert_refused(&refused.expect_err("another's"), "page_token", rule);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reused_request_id_is_refused_and_changes_neither_sandbox() {
    let orchestrator = Harness::start().await;
    let request = pb::CreateSandboxRequest {
        request_id: "r-1".into(),
        ..of("demo")
    };
    let before = orchestrator.create(request.clone()).await.expect("created");
    let reused = [
        pb::CreateSandboxRequest {
            conversation: "another".into(),
            ..request.clone()
        },
        pb::CreateSandboxRequest {
            ttl: Some(seconds(60)),
            ..request.clone()
        },
        pb::CreateSandboxRequest {
            environment: [("KEY".to_owned(), "value".to_owned())].into(),
            ..request
        },
    ];
    for reused in reused {
        let refused = orchestrator.create(reused).await.expect_err("reused");
        let rule = "must not repeat that of a request with other content";
        assert_refused(&refused, "request_id", rule);
    }
    let listed = orchestrator.list(pb::ListSandboxesRequest::default()).await;
    let before = before.sandbox.expect("a sandbox");
    assert_eq!(listed.expect("a list").sandboxes, [before]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_create_with_another_template_is_refused_and_changes_nothing() {
    let orchestrator = Harness::start().await;
    let before = orchestrator.ready("demo").await;
    let other = pb::CreateSandboxRequest {
        template: "other".into(),
        ..of("demo")
    };
    let refused = orchestrator.create(other).await.expect_err("another");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::AlreadyExists, "SANDBOX_DIFFERS")
    );
    assert_eq!(crate::harness::meta(&refused, "field"), "template");
    let after = orchestrator.get(&before.sandbox_id).await.expect("there");
    assert_eq!(after, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn anothers_conversation_is_refused_in_the_same_words_when_it_is_long_forgotten() {
    let orchestrator = Harness::start().await;
    let bob = orchestrator.as_user("acme", "robert");
    let sandbox = orchestrator.ready("demo").await.sandbox_id;
    let live = bob.create(of("demo")).await.expect_err("ann's");
    orchestrator.delete(&sandbox).await.expect("deleted");
    let day = std::time::Duration::from_secs(25 * 3600);
    orchestrator.clock.advance(day);
    let forgotten = async {
        while orchestrator.get(&sandbox).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), forgotten)
        .await
        .expect("forgotten");
    let refused = bob.create(of("demo")).await.expect_err("ann's for ever");
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(
        (refused.message(), refused.details()),
        (live.message(), live.details())
    );
    orchestrator.ready("demo").await;
}
