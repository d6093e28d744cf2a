//! Records: whole chains, and none beside a row that was not written.

use super::*;

#[tokio::test]
async fn records_are_appended_to_their_chain_or_not_at_all() {
    on_each(|store| async move {
        let mut previous = [0; HASH_BYTES];
        let mut records = Vec::new();
        for sequence in 1..=4 {
            let record = seal("token/1", sequence, at(sequence), previous, entry("x"));
            previous = record.hash.clone().try_into().expect("a hash");
            records.push((record, at(sequence)));
        }
        let append = |from: usize, to: usize| store.append("token/1", &records[from..to]);
        assert_eq!(append(1, 3).await.expect("append"), Appended::Gap(0));
        assert_eq!(append(0, 2).await.expect("append"), Appended::Kept(2));
        assert_eq!(append(0, 4).await.expect("append"), Appended::Kept(4));
        let filter = RecordFilter {
            tenant: TenantId::parse("tenant", "acme").expect("valid"),
            sandbox: None,
            decision: None,
        };
        let page = store.records(&filter, None, 3).await.expect("a page");
        assert_eq!(
            page.iter()
                .map(|(record, _)| record.sequence)
                .collect::<Vec<_>>(),
            [4, 3, 2]
        );
        let rest = store
            .records(&filter, Some(&page[2].1), 3)
            .await
            .expect("a page");
        assert_eq!(
            rest.iter()
                .map(|(record, _)| &record.hash)
                .collect::<Vec<_>>(),
            [&records[0].0.hash]
        );
    })
    .await;
}

#[tokio::test]
async fn own_records_are_written_with_their_rows_or_not_at_all_and_are_one_chain() {
    on_each(|store| async move {
        let first = row(1, "ann", "demo");
        let made = store
            .create(&first, &lease("me", 1), None, entry("create"))
            .await;
        assert!(matches!(made, Ok(Creation::Created(_))));
        // Found, and not made: nothing is on record.
        let found = store
            .create(
                &row(2, "ann", "demo"),
                &lease("me", 1),
                None,
                entry("found"),
            )
            .await;
        assert!(matches!(found, Ok(Creation::Live(_))));
        let with = |action| Beside {
            uses: None,
            entry: Some(entry(action)),
            request: None,
        };
        let late = Sandbox {
            version: 9,
            ..ready(&first)
        };
        let saved = store.save(&late, &lease("me", 2), with("late")).await;
        assert_eq!(saved.expect("another version"), Saved::Stale);
        let saved = store
            .save(&ready(&first), &lease("me", 2), with("ready"))
            .await;
        assert_eq!(saved.expect("save"), Saved::Written);
        let noted = ["a", "b", "c"].map(|action| store.record(entry(action)));
        for noted in futures_util::future::join_all(noted).await {
            noted.expect("recorded");
        }
        // As after a write of which nobody knows the end: the head is read again.
        let again = opened(&store.database, "1");
        again.chain.forget();
        again.record(entry("again")).await.expect("recorded");

        let filter = RecordFilter {
            tenant: TenantId::parse("tenant", "acme").expect("valid"),
            sandbox: None,
            decision: None,
        };
        let page = store.records(&filter, None, 10).await.expect("a page");
        let mut records: Vec<_> = page.into_iter().map(|(record, _)| record).collect();
        records.sort_by_key(|record| record.sequence);
        let actions: Vec<&str> = records
            .iter()
            .map(|record| record.action.as_str())
            .collect();
        assert_eq!(actions[..2], ["create", "ready"]);
        assert_eq!((actions.len(), actions[5]), (6, "again"));
        sandgate_audit::verify([0; HASH_BYTES], &records).expect("one chain");
    })
    .await;
}
