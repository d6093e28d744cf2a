//! Requests that named themselves.

use super::*;

fn memo() -> Memo {
    Memo {
        scope: "acme/key/WriteFile".to_owned(),
        request: RequestId::parse("request_id", "r").expect("valid"),
        fingerprint: [3; 32],
    }
}

#[tokio::test]
async fn a_request_that_named_itself_is_done_once() {
    on_each(async |mut fixture| {
        let memo = memo();
        assert_eq!(fixture.store.remembered(&memo).await.expect("read"), None);
        fixture
            .store
            .ensure_workspace(&fixture.workspace, fixture.now)
            .await
            .expect("a row");
        let settles = || Settles::Request {
            memo: Some(memo.clone()),
            chunks: vec![(name(1), 1)],
        };
        let advance = fixture.advance(None, settles());
        let version = fixture.store.advance(&advance).await.expect("done");
        let again = fixture.advance(Some(version.id.clone()), settles());
        let refused = fixture
            .store
            .advance(&again)
            .await
            .expect_err("done before");
        assert!(matches!(refused, AdvanceError::Remembered));
        let remembered = fixture.store.remembered(&memo).await.expect("read");
        let expected = Remembered {
            fingerprint: [3; 32],
            version,
        };
        assert_eq!(remembered, Some(expected));
    })
    .await;
}

#[tokio::test]
async fn a_request_that_changed_nothing_is_remembered_with_the_head_that_it_found_or_looks_again() {
    on_each(async |mut fixture| {
        let (memo, id, now) = (memo(), fixture.workspace.id(), fixture.now);
        let first = fixture.written(None).await.expect("the first");
        let second = fixture.written(Some(first.id.clone())).await;
        let second = second.expect("the second");
        let moved = fixture.store.remember(&id, &memo, &first.id, now).await;
        assert!(matches!(moved, Err(AdvanceError::HeadMoved)));
        assert_eq!(fixture.store.remembered(&memo).await.expect("read"), None);
        let noted = fixture.store.remember(&id, &memo, &second.id, now).await;
        noted.expect("it is the head");
        let remembered = fixture.store.remembered(&memo).await.expect("read");
        assert_eq!(remembered.expect("noted").version, second);
    })
    .await;
}
