//! What every database must do, on SQLite and, where the test run has one, on Postgres.

mod lists;
mod records;

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

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

pub(crate) fn lease(owner: &str, now: i64) -> Lease {
    Lease {
        owner: owner.to_owned(),
        now: at(now),
        until: at(now + 60),
    }
}

pub(crate) fn row(seed: u64, user: &str, conversation: &str) -> Sandbox {
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
            memory: 1 << 30,
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
pub(crate) fn ready(row: &Sandbox) -> Sandbox {
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

pub(crate) async fn created(store: &Store, row: &Sandbox) -> Sandbox {
    match store
        .create(row, &lease("me", 1), None, entry("x"))
        .await
        .expect("create")
    {
        Creation::Created(created) => created,
        other @ (Creation::Live(_)
        | Creation::OwnedBy(_)
        | Creation::Replayed(_)
        | Creation::Exceeds(_)) => {
            panic!("not created: {other:?}")
        }
    }
}

/// Runs a rule on each database that the test run has.
pub(crate) async fn on_each<F: Future<Output = ()>>(rule: impl Fn(Store) -> F) {
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
            assert_eq!(
                store
                    .save(&next, &lease("me", 2), Beside::default())
                    .await
                    .expect("save"),
                Saved::Written
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
        assert_eq!(
            store
                .save(&theirs, &lease("they", 2), Beside::default())
                .await
                .expect("save"),
            Saved::Written
        );
        assert_eq!(
            store
                .save(&mine, &lease("me", 2), Beside::default())
                .await
                .expect("save"),
            Saved::Stale
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
        assert_eq!(
            store
                .save(&deleted(&first, 3), &lease("me", 2), Beside::default())
                .await
                .expect("save"),
            Saved::Written
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
        store.release("me").await.expect("nothing of it");
        assert!(!store.take(id, &lease("me", 92)).await.expect("theirs"));
        store.release("they").await.expect("released");
        assert!(store.take(id, &lease("me", 92)).await.expect("free"));
        store.seize(&lease("they", 93)).await.expect("seized");
        assert!(!store.take(id, &lease("me", 93)).await.expect("theirs"));
        assert_eq!(
            store
                .save(&ready(&first), &lease("they", 93), Beside::default())
                .await
                .expect("save"),
            Saved::Written
        );
        assert!(!store.take(id, &lease("they", 94)).await.expect("done"));
    })
    .await;
}
