//! What every database must do, on SQLite and, where the test run has one, on Postgres.

use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_audit::{Decision, Entry, HASH_BYTES, seal};
use sandgate_testkit::{Fresh, TestClock, each_database};
use sandgate_types::{
    ConversationId, Generation, InstanceId, LabelKey, Labels, RequestId, SandboxId, SessionId,
    TemplateName, TenantId, VersionId,
};

use super::*;
use crate::sandbox::{Bound, Ending, Facts, Intent, Phase, Reason, Run, State};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn lease(owner: &str, now: i64) -> Lease {
    Lease {
        owner: owner.to_owned(),
        now: at(now),
        until: at(now + 60),
    }
}

fn row(seed: u64, user: &str, conversation: &str) -> Sandbox {
    let label = (
        LabelKey::parse("labels", "team").expect("valid"),
        "red \"é\"".to_owned(),
    );
    Sandbox {
        facts: Facts {
            id: SandboxId::random(&mut StdRng::seed_from_u64(seed)),
            tenant: TenantId::parse("tenant", "acme").expect("valid"),
            user: UserId::parse("user", user).expect("valid"),
            conversation: ConversationId::parse("conversation", conversation).expect("valid"),
            template: TemplateName::parse("template", "default").expect("valid"),
            labels: Labels::from([label]),
            created_at: at(i64::try_from(seed).expect("small")),
            ttl: Duration::from_secs(900),
            idle_timeout: Duration::from_secs(1800),
            operations: Some(vec!["read".to_owned()]),
        },
        state: State {
            phase: Phase::Claiming,
            reason: Reason::None,
            message: String::new(),
            generation: Generation::FIRST,
            run: None,
            expires_at: at(1_000),
            workspace: None,
            ending: None,
            bounds: Vec::new(),
            intent: Some(Intent::Start),
            awaits_environment: true,
            has_environment: true,
        },
        version: 1,
    }
}

/// The row as its start leaves it, one version on.
fn ready(row: &Sandbox) -> Sandbox {
    let mut rng = StdRng::seed_from_u64(77);
    let mut next = row.clone();
    next.version += 1;
    next.state.phase = Phase::Ready;
    next.state.intent = None;
    next.state.awaits_environment = false;
    next.state.workspace = Some(VersionId::random(&mut rng));
    next.state.bounds = vec![Bound {
        resource: "memory".to_owned(),
        limit: i64::MAX,
        mechanism: "cgroup-v2".to_owned(),
    }];
    next.state.run = Some(Run {
        instance: InstanceId::random(&mut rng),
        session: SessionId::random(&mut rng),
        claimed_at: at(5),
        cold: true,
        complete: true,
        gone: false,
    });
    next
}

fn deleted(row: &Sandbox, now: i64) -> Sandbox {
    let mut next = row.clone();
    next.version += 1;
    next.state.phase = Phase::Deleted;
    next.state.intent = None;
    next.state.run = None;
    next.state.ending = Some(Ending {
        exit_code: Some(-1),
        signal: Some(9),
        last_output: vec![0, 255, 10],
        not_synced: "some".to_owned(),
        ..Ending::at(at(now))
    });
    next
}

fn key(request: &str) -> RequestKey {
    RequestKey {
        principal: "k1".to_owned(),
        rpc: "CreateSandbox",
        request: RequestId::parse("request_id", request).expect("valid"),
    }
}

fn entry(action: &str) -> Entry {
    Entry {
        decision: Decision::Allowed,
        action: action.to_owned(),
        reason: String::new(),
        tenant: "acme".to_owned(),
        principal: String::new(),
        sandbox: String::new(),
        request_id: String::new(),
    }
}

fn opened(database: &Database, start: &str) -> Store {
    let writer = format!("orchestrator/{start}");
    Store::new(database.clone(), writer, TestClock::new().shared())
}

async fn created(store: &Store, row: &Sandbox) -> Sandbox {
    match store
        .create(row, &lease("me", 1), None, entry("x"))
        .await
        .expect("create")
    {
        Creation::Created(created) => created,
        other @ (Creation::Live(_) | Creation::OwnedBy(_) | Creation::Replayed(_)) => {
            panic!("not created: {other:?}")
        }
    }
}

/// Runs a rule on each database that the test run has.
async fn on_each<F: Future<Output = ()>>(rule: impl Fn(Store) -> F) {
    for Fresh { database, kind, .. } in &each_database(&MIGRATIONS).await {
        println!("on {kind}");
        rule(opened(database, "1")).await;
    }
}

#[tokio::test]
async fn a_row_comes_back_as_it_was_written_in_each_of_its_states() {
    on_each(|store| async move {
        let first = row(1, "ann", "demo");
        assert_eq!(created(&store, &first).await, first);
        for next in [ready(&first), deleted(&ready(&first), 9)] {
            assert!(
                store
                    .save(&next, &lease("me", 2), Beside::default())
                    .await
                    .expect("save")
            );
            assert_eq!(store.get(&first.facts.id).await.expect("get"), Some(next));
        }
    })
    .await;
}

#[tokio::test]
async fn a_write_over_another_version_changes_nothing() {
    on_each(|store| async move {
        let first = row(1, "ann", "demo");
        created(&store, &first).await;
        let mine = ready(&first);
        let theirs = deleted(&first, 3);
        assert!(
            store
                .save(&theirs, &lease("they", 2), Beside::default())
                .await
                .expect("save")
        );
        assert!(
            !store
                .save(&mine, &lease("me", 2), Beside::default())
                .await
                .expect("save")
        );
        assert_eq!(store.get(&first.facts.id).await.expect("get"), Some(theirs));
    })
    .await;
}

#[tokio::test]
async fn a_conversation_has_one_live_sandbox_and_one_owner_for_ever() {
    on_each(|store| async move {
        let first = row(1, "ann", "demo");
        created(&store, &first).await;
        let second = store
            .create(&row(2, "ann", "demo"), &lease("me", 1), None, entry("x"))
            .await;
        assert_eq!(second.expect("create"), Creation::Live(first.clone()));
        assert!(
            store
                .save(&deleted(&first, 3), &lease("me", 2), Beside::default())
                .await
                .expect("save")
        );
        let bobs = store
            .create(&row(3, "bob", "demo"), &lease("me", 1), None, entry("x"))
            .await;
        assert_eq!(
            bobs.expect("create"),
            Creation::OwnedBy(first.facts.user.clone())
        );
        assert_eq!(store.forget(at(100), at(100)).await.expect("forget"), 1);
        let bobs = store
            .create(&row(4, "bob", "demo"), &lease("me", 1), None, entry("x"))
            .await;
        assert_eq!(
            bobs.expect("create"),
            Creation::OwnedBy(first.facts.user.clone())
        );
        created(&store, &row(5, "ann", "demo")).await;
    })
    .await;
}

#[tokio::test]
async fn racing_creates_make_one_row() {
    on_each(|store| async move {
        let racing = (1..=8).map(|seed| {
            let store = store.clone();
            async move {
                let made = store
                    .create(&row(seed, "ann", "demo"), &lease("me", 1), None, entry("x"))
                    .await;
                matches!(made.expect("create"), Creation::Created(_))
            }
        });
        let made = futures_util::future::join_all(racing).await;
        assert_eq!(made.into_iter().filter(|made| *made).count(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_request_is_remembered_with_its_row_for_as_long_as_it_is_told() {
    on_each(|store| async move {
        let first = row(1, "ann", "demo");
        let asked = (&key("r-1"), [7; 32]);
        store
            .create(&first, &lease("me", 1), Some(asked), entry("x"))
            .await
            .expect("create");
        let memo = Memo {
            content: [7; 32],
            sandbox: first.facts.id.clone(),
            created: true,
        };
        let again = store
            .create(
                &row(2, "ann", "demo"),
                &lease("me", 1),
                Some(asked),
                entry("x"),
            )
            .await;
        assert_eq!(again.expect("create"), Creation::Replayed(memo));
        let another = Memo {
            content: [8; 32],
            sandbox: first.facts.id.clone(),
            created: false,
        };
        store
            .remember(&key("r-2"), &another, at(2))
            .await
            .expect("remember");
        store.forget(at(0), at(2)).await.expect("forget");
        let forgotten = store
            .create(
                &row(3, "ann", "demo"),
                &lease("me", 1),
                Some(asked),
                entry("x"),
            )
            .await;
        assert_eq!(forgotten.expect("create"), Creation::Live(first));
        let kept = (&key("r-2"), [8; 32]);
        let kept = store
            .create(
                &row(4, "ann", "demo"),
                &lease("me", 1),
                Some(kept),
                entry("x"),
            )
            .await;
        assert_eq!(kept.expect("create"), Creation::Replayed(another));
    })
    .await;
}

#[tokio::test]
async fn an_intent_is_taken_by_one_owner_until_its_lease_lapses() {
    on_each(|store| async move {
        let first = row(1, "ann", "demo");
        created(&store, &first).await;
        let id = &first.facts.id;
        assert!(store.take(id, &lease("me", 30)).await.expect("mine"));
        assert!(
            !store
                .take(id, &lease("they", 60))
                .await
                .expect("mine still")
        );
        assert!(store.take(id, &lease("they", 91)).await.expect("lapsed"));
        assert!(!store.take(id, &lease("me", 92)).await.expect("theirs"));
        assert!(
            store
                .save(&ready(&first), &lease("they", 93), Beside::default())
                .await
                .expect("save")
        );
        assert!(!store.take(id, &lease("they", 94)).await.expect("done"));
    })
    .await;
}

#[tokio::test]
async fn rows_are_found_by_what_is_due() {
    on_each(|store| async move {
        let (first, second) = (row(1, "ann", "one"), row(2, "ann", "two"));
        created(&store, &first).await;
        created(&store, &second).await;
        assert!(store.expired(at(999)).await.expect("none").is_empty());
        assert_eq!(store.expired(at(1_000)).await.expect("both").len(), 2);
        assert!(
            store
                .save(&deleted(&first, 3), &lease("me", 2), Beside::default())
                .await
                .expect("save")
        );
        let expired = store.expired(at(1_000)).await.expect("one");
        assert_eq!(expired, std::slice::from_ref(&second.facts.id));
        let live = store.live_after(None).await.expect("one");
        assert_eq!(live, std::slice::from_ref(&second));
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
            entry: Some(entry(action)),
            request: None,
        };
        let late = Sandbox {
            version: 9,
            ..ready(&first)
        };
        let saved = store.save(&late, &lease("me", 2), with("late")).await;
        assert!(!saved.expect("another version"));
        let saved = store
            .save(&ready(&first), &lease("me", 2), with("ready"))
            .await;
        assert!(saved.expect("save"));
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
