//! Lists: sandboxes by filter and page, templates.

use sandgate_api::orchestrator::v1 as pb;

use crate::harness::{Harness, fields, of};

#[tokio::test(flavor = "multi_thread")]
async fn pages_give_each_sandbox_once_newest_first() {
    let orchestrator = Harness::start().await;
    for number in 0..5 {
        orchestrator
            .clock
            .advance(std::time::Duration::from_secs(1));
        orchestrator.ready(&format!("c{number}")).await;
    }
    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListSandboxesRequest {
            page_size: 2,
            page_token,
            ..Default::default()
        };
        let page = orchestrator.list(request).await.expect("a page");
        assert!(page.sandboxes.len() <= 2);
        seen.extend(
            page.sandboxes
                .into_iter()
                .map(|sandbox| sandbox.conversation),
        );
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ["c4", "c3", "c2", "c1", "c0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_hold_and_a_token_is_good_for_its_list_alone() {
    let orchestrator = Harness::start().await;
    let labelled = pb::CreateSandboxRequest {
        labels: [("team".to_owned(), "red".to_owned())].into(),
        ..of("red")
    };
    orchestrator.create(labelled).await.expect("created");
    let blue = orchestrator.ready("blue").await;
    orchestrator
        .delete(&blue.sandbox_id)
        .await
        .expect("deleted");
    let conversations = |answer: pb::ListSandboxesResponse| {
        answer
            .sandboxes
            .into_iter()
            .map(|sandbox| sandbox.conversation)
            .collect::<Vec<_>>()
    };
    let all = pb::ListSandboxesRequest::default();
    assert_eq!(
        conversations(orchestrator.list(all.clone()).await.expect("a list")),
        ["red"]
    );
    let deleted = pb::ListSandboxesRequest {
        phases: vec![pb::Phase::Deleted.into()],
        ..all.clone()
    };
    assert_eq!(
        conversations(orchestrator.list(deleted).await.expect("a list")),
        ["blue"]
    );
    let labels = [("team".to_owned(), "green".to_owned())].into();
    let green = pb::ListSandboxesRequest {
        labels,
        ..all.clone()
    };
    assert!(conversations(orchestrator.list(green).await.expect("a list")).is_empty());
    let bobs = pb::ListSandboxesRequest {
        user: "bob".into(),
        ..all.clone()
    };
    assert!(conversations(orchestrator.list(bobs).await.expect("a list")).is_empty());
    let bob = orchestrator.as_user("acme", "bob");
    assert!(conversations(bob.list(all.clone()).await.expect("a list")).is_empty());

    orchestrator.ready("more").await;
    let first = pb::ListSandboxesRequest {
        page_size: 1,
        ..all.clone()
    };
    let token = orchestrator
        .list(first)
        .await
        .expect("a page")
        .next_page_token;
    assert!(!token.is_empty());
    for (asker, request) in [
        (
            &orchestrator,
            pb::ListSandboxesRequest {
                page_token: "nonsense".into(),
                ..all.clone()
            },
        ),
        (
            &orchestrator,
            pb::ListSandboxesRequest {
                page_token: token.clone(),
                conversation: "red".into(),
                ..all.clone()
            },
        ),
        (
            &bob,
            pb::ListSandboxesRequest {
                page_token: token,
                ..all.clone()
            },
        ),
    ] {
        assert_eq!(
            fields(&asker.list(request).await.expect_err("not its token")),
            ["page_token"]
        );
    }
    let negative = pb::ListSandboxesRequest {
        page_size: -1,
        ..all.clone()
    };
    assert_eq!(
        fields(&orchestrator.list(negative).await.expect_err("negative")),
        ["page_size"]
    );
    let huge = pb::ListSandboxesRequest {
        page_size: i32::MAX,
        ..all
    };
    assert_eq!(
        orchestrator
            .list(huge)
            .await
            .expect("clamped")
            .sandboxes
            .len(),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_are_listed_by_name_in_pages() {
    let orchestrator = Harness::start().await;
    let list = |page_token: String| {
        let request = pb::ListTemplatesRequest {
            page_size: 1,
            page_token,
        };
        let (mut client, request) = (orchestrator.templates(), orchestrator.request(request));
        async move {
            client
                .list_templates(request)
                .await
                .expect("a page")
                .into_inner()
        }
    };
    let first = list(String::new()).await;
    assert_eq!(first.templates[0].template, "default");
    assert_eq!(first.templates[0].pool_size, 2);
    let second = list(first.next_page_token).await;
    assert_eq!(second.templates[0].template, "other");
    let third = list(second.next_page_token).await;
    assert_eq!(third.templates[0].template, "short");
    assert!(third.next_page_token.is_empty());
}
