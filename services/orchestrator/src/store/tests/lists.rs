//! What is found, and in which order.

use super::*;

#[tokio::test]
async fn rows_are_found_by_what_is_due() {
    on_each(|store| async move {
        let (first, second) = (row(1, "ann", "one"), row(2, "ann", "two"));
        created(&store, &first).await;
        created(&store, &second).await;
        assert!(store.expired(at(999)).await.expect("none").is_empty());
        assert_eq!(store.expired(at(1_000)).await.expect("both").len(), 2);
        assert_eq!(
            store
                .save(&deleted(&first, 3), &lease("me", 2), Beside::default())
                .await
                .expect("save"),
            Saved::Written
        );
        let expired = store.expired(at(1_000)).await.expect("one");
        assert_eq!(expired, std::slice::from_ref(&second.facts.id));
        let live = store.live_after(None).await.expect("one");
        let [(found, Some(lessee))] = live.as_slice() else {
            panic!("one row with an intent: {live:?}");
        };
        assert_eq!(found, &second);
        assert!(lessee.is_other("they", at(61)) && !lessee.is_other("me", at(61)));
        assert!(!lessee.is_other("they", at(62)), "its lease is over");
        assert!(
            store
                .live_after(Some(&second.facts.id))
                .await
                .expect("none")
                .is_empty()
        );
    })
    .await;
}

#[tokio::test]
async fn lists_go_newest_first_and_take_what_the_filter_takes() {
    on_each(|store| async move {
        for (seed, user) in [(1, "ann"), (2, "bob"), (3, "ann")] {
            created(&store, &row(seed, user, &format!("c{seed}"))).await;
        }
        let all = Filter {
            tenant: TenantId::parse("tenant", "acme").expect("valid"),
            user: None,
            conversation: None,
            phases: Vec::new(),
            labels: Labels::new(),
        };
        let names = |rows: Vec<Sandbox>| -> Vec<String> {
            rows.iter()
                .map(|row| row.facts.conversation.as_str().to_owned())
                .collect()
        };
        assert_eq!(
            names(store.list(&all, None, 9).await.expect("a list")),
            ["c3", "c2", "c1"]
        );
        let first = store.list(&all, None, 1).await.expect("a list");
        let after = Cursor {
            created_at: first[0].facts.created_at,
            sandbox: first[0].facts.id.clone(),
        };
        assert_eq!(
            names(store.list(&all, Some(&after), 9).await.expect("a list")),
            ["c2", "c1"]
        );
        let anns = Filter {
            user: Some(UserId::parse("user", "ann").expect("valid")),
            ..all.clone()
        };
        assert_eq!(
            names(store.list(&anns, None, 9).await.expect("a list")),
            ["c3", "c1"]
        );
        let ready = Filter {
            phases: vec![Phase::Ready],
            ..all.clone()
        };
        assert!(
            store
                .list(&ready, None, 9)
                .await
                .expect("a list")
                .is_empty()
        );
        let elsewhere = Filter {
            tenant: TenantId::parse("tenant", "umbrella").expect("valid"),
            ..all
        };
        assert!(
            store
                .list(&elsewhere, None, 9)
                .await
                .expect("a list")
                .is_empty()
        );
    })
    .await;
}
