//! The contract of the store, on both databases.

use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_rpc::Role;
use sandgate_session::{Operations, RevocationScope, RevocationTarget};
use sandgate_testkit::each_database;
use sandgate_types::{ApiKeyId, RequestId, TenantId, UserId};

use super::*;
use crate::master_key::Sealed;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn tenant(name: &str) -> StoredTenant {
    StoredTenant {
        tenant: TenantId::parse("tenant", name).expect("valid"),
        granted: Operations::parse("o", &["a", "b"]).expect("valid"),
        created_at: at(10),
    }
}

fn api_key(seed: u64, created_at: Timestamp) -> StoredApiKey {
    StoredApiKey {
        id: ApiKeyId::random(&mut StdRng::seed_from_u64(seed)),
        tenant: tenant("acme").tenant,
        user: seed
            .is_multiple_of(2)
            .then(|| UserId::parse("user", "ann").expect("valid")),
        roles: vec![Role::Caller, Role::Admin],
        may_name_users: !seed.is_multiple_of(2),
        description: "naïve ' ; --".to_owned(),
        secret_hash: vec![u8::try_from(seed).expect("small"); 32],
        created_at,
        revoked_at: None,
        expires_at: None,
        lifetime: None,
    }
}

fn sealed(byte: u8) -> Sealed {
    Sealed {
        master_key_id: "m".to_owned(),
        bytes: vec![byte; 60],
    }
}

fn beginning() -> Beginning {
    Beginning {
        incarnation: "first".to_owned(),
        signing_key: StoredSigningKey {
            key_id: "k".to_owned(),
            algorithm: "EdDSA".to_owned(),
            public_key: vec![1; 32],
            sealed: sealed(2),
            created_at: at(10),
            ordinal: 1,
            signs_from: at(10),
        },
        root: StoredRoot {
            name: "service".to_owned(),
            certificate: "PEM".to_owned(),
            sealed: sealed(3),
            created_at: at(10),
        },
        tenant: tenant("acme"),
        api_key: api_key(2, at(10)),
    }
}

async fn each_store() -> Vec<(Store, sandgate_testkit::Fresh)> {
    let fresh = each_database(&MIGRATIONS).await;
    fresh
        .into_iter()
        .map(|fresh| {
            (
                Store {
                    database: fresh.database.clone(),
                },
                fresh,
            )
        })
        .collect()
}

fn added(seconds: i64) -> Added<'static> {
    Added {
        reason: "r",
        by: "b",
        at: at(seconds),
        above: 0,
    }
}

fn user(name: &str) -> RevocationTarget {
    let name = UserId::parse("user", name).expect("valid");
    RevocationTarget::sessions(tenant("acme").tenant, RevocationScope::User(name))
}

#[tokio::test]
async fn trust_begins_once() {
    for (store, fresh) in each_store().await {
        assert!(store.is_empty().await.expect(fresh.kind));
        assert_eq!(store.incarnation().await.expect(fresh.kind), None);
        assert!(store.begin(&beginning()).await.expect(fresh.kind));
        let mut second = beginning();
        second.incarnation = "second".to_owned();
        assert!(!store.begin(&second).await.expect(fresh.kind));
        assert_eq!(
            store.incarnation().await.expect(fresh.kind).as_deref(),
            Some("first")
        );
        let keys = store.signing_keys().await.expect(fresh.kind);
        assert_eq!((keys.len(), &keys[0].sealed), (1, &sealed(2)));
        let root = store
            .root("service")
            .await
            .expect(fresh.kind)
            .expect("a root");
        assert_eq!((root.certificate.as_str(), root.sealed), ("PEM", sealed(3)));
        assert!(store.root("other").await.expect(fresh.kind).is_none());
        assert!(!store.is_empty().await.expect(fresh.kind));
    }
}

#[tokio::test]
async fn api_keys_are_kept_as_given_and_paged_newest_first() {
    for (store, fresh) in each_store().await {
        store.begin(&beginning()).await.expect(fresh.kind);
        // Two of one instant, so that the id decides.
        let keys = [api_key(3, at(20)), api_key(4, at(20)), api_key(5, at(30))];
        for key in &keys {
            assert!(store.add_api_key(key).await.expect(fresh.kind));
        }
        let orphan = StoredApiKey {
            tenant: tenant("nobody").tenant,
            ..api_key(6, at(40))
        };
        assert!(!store.add_api_key(&orphan).await.expect(fresh.kind));
        assert_eq!(
            store
                .api_key(keys[0].id.as_str())
                .await
                .expect(fresh.kind)
                .as_ref(),
            Some(&keys[0])
        );
        assert!(
            store
                .api_key("' OR 1=1 --")
                .await
                .expect(fresh.kind)
                .is_none()
        );
        let mut seen = Vec::new();
        let mut behind = None;
        loop {
            let page = store
                .api_keys(&tenant("acme").tenant, behind.as_ref(), 1)
                .await
                .expect(fresh.kind);
            let Some(last) = page.last() else { break };
            behind = Some(KeyPage {
                created_at: last.created_at,
                id: last.id.clone(),
            });
            seen.extend(page);
        }
        let mut expected = vec![beginning().api_key];
        expected.extend(keys);
        expected.sort_by(|a, b| (b.created_at, b.id.as_str()).cmp(&(a.created_at, a.id.as_str())));
        assert_eq!(seen, expected, "{}", fresh.kind);
    }
}

#[tokio::test]
async fn revocations_are_numbered_without_gaps_and_once_each() {
    for (store, fresh) in each_store().await {
        assert_eq!(store.feed_head().await.expect(fresh.kind), 0);
        let mut numbers = Vec::new();
        for name in ["a", "b", "a", "c"] {
            numbers.push(
                store
                    .revoke(&user(name), &added(5))
                    .await
                    .expect(fresh.kind),
            );
        }
        assert_eq!(numbers, [1, 2, 1, 3]);
        assert_eq!(store.feed_head().await.expect(fresh.kind), 3);
        let rest = store.revocations_after(1, 10).await.expect(fresh.kind);
        let targets: Vec<_> = rest
            .iter()
            .map(|row| (row.sequence, row.target.clone()))
            .collect();
        assert_eq!(targets, [(2, user("b")), (3, user("c"))]);
        assert_eq!(
            store.revocations_after(0, 2).await.expect(fresh.kind).len(),
            2
        );
    }
}

#[tokio::test]
async fn many_at_once_still_leave_no_gap() {
    for (store, fresh) in each_store().await {
        let revoke = |index: usize| {
            let store = store.clone();
            async move {
                store
                    .revoke(&user(&format!("u{index}")), &added(5))
                    .await
                    .expect("revoked")
            }
        };
        let (a, b, c, d) = tokio::join!(revoke(0), revoke(1), revoke(2), revoke(3));
        let mut numbers = [a, b, c, d];
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3, 4], "{}", fresh.kind);
    }
}

#[tokio::test]
async fn an_api_key_and_the_feed_hear_of_its_end_together() {
    for (store, fresh) in each_store().await {
        store.begin(&beginning()).await.expect(fresh.kind);
        let id = beginning().api_key.id;
        assert_eq!(
            store
                .revoke_api_key(&id, &added(50), |_| false)
                .await
                .expect(fresh.kind),
            None
        );
        assert_eq!(store.feed_head().await.expect(fresh.kind), 0);
        let first = store
            .revoke_api_key(&id, &added(50), |_| true)
            .await
            .expect(fresh.kind);
        assert_eq!(first, Some((1, at(50))));
        let again = store
            .revoke_api_key(&id, &added(60), |_| true)
            .await
            .expect(fresh.kind);
        assert_eq!(again, Some((1, at(50))));
        let key = store
            .api_key(id.as_str())
            .await
            .expect(fresh.kind)
            .expect("there");
        assert_eq!(key.revoked_at, Some(at(50)));
        let unknown = ApiKeyId::random(&mut StdRng::seed_from_u64(99));
        assert_eq!(
            store
                .revoke_api_key(&unknown, &added(50), |_| true)
                .await
                .expect(fresh.kind),
            None
        );
    }
}

#[tokio::test]
async fn all_api_keys_end_together_and_one_first_key_is_made_anew() {
    for (store, fresh) in each_store().await {
        store.begin(&beginning()).await.expect(fresh.kind);
        store
            .add_api_key(&api_key(3, at(20)))
            .await
            .expect(fresh.kind);
        assert!(!store.wants_first_api_key().await.expect(fresh.kind));
        assert!(
            !store
                .add_first_api_key(&api_key(4, at(30)))
                .await
                .expect(fresh.kind)
        );
        for ended in [2, 0] {
            let count = store.revoke_all_api_keys(&added(50)).await;
            assert_eq!(count.expect(fresh.kind), ended, "{}", fresh.kind);
        }
        assert_eq!(store.feed_head().await.expect(fresh.kind), 2);
        assert!(store.wants_first_api_key().await.expect(fresh.kind));
        let first = api_key(4, at(60));
        assert!(store.add_first_api_key(&first).await.expect(fresh.kind));
        assert!(
            !store
                .add_first_api_key(&api_key(5, at(60)))
                .await
                .expect(fresh.kind)
        );
        let keys = store
            .api_keys(&first.tenant, None, 10)
            .await
            .expect(fresh.kind);
        let living: Vec<_> = keys.iter().filter(|key| key.revoked_at.is_none()).collect();
        assert_eq!((keys.len(), living), (3, vec![&first]), "{}", fresh.kind);
    }
}

#[tokio::test]
async fn a_number_at_or_below_one_that_is_known_is_not_given() {
    for (store, fresh) in each_store().await {
        store.revoke(&user("a"), &added(5)).await.expect(fresh.kind);
        let above = Added {
            above: 2,
            ..added(5)
        };
        let refused = store.revoke(&user("b"), &above).await;
        assert!(
            matches!(refused, Err(StoreError::Damaged(2))),
            "{}",
            fresh.kind
        );
        assert_eq!(store.feed_head().await.expect(fresh.kind), 1);
    }
}

#[tokio::test]
async fn a_request_id_is_remembered_for_its_time_and_principal() {
    for (store, fresh) in each_store().await {
        let id = RequestId::parse("request_id", "r").expect("valid");
        let ask = |name: &'static str, principal: &'static str, content: u8, now: i64| {
            let (store, id) = (store.clone(), id.clone());
            async move {
                let request = Request {
                    principal,
                    method: "CreateTenant",
                    id: &id,
                    content: [content; 32],
                    forget_before: at(now).minus(Duration::from_secs(100)),
                };
                let wanted = StoredTenant {
                    created_at: at(now),
                    ..tenant(name)
                };
                store
                    .create_tenant(&wanted, &request)
                    .await
                    .expect("an answer")
            }
        };
        let first = ask("one", "p", 1, 1_000).await;
        assert!(matches!(first, Created::Is(_)), "{}", fresh.kind);
        assert_eq!(ask("one", "p", 1, 1_001).await, first);
        assert_eq!(ask("two", "p", 2, 1_002).await, Created::IdReused);
        assert!(matches!(ask("two", "q", 2, 1_003).await, Created::Is(_)));
        assert!(
            matches!(ask("three", "p", 3, 1_101).await, Created::Is(_)),
            "{}",
            fresh.kind
        );
        let names = store.tenants_after("", 10).await.expect(fresh.kind);
        assert_eq!(
            names
                .iter()
                .map(|tenant| tenant.tenant.as_str())
                .collect::<Vec<_>>(),
            ["one", "three", "two"]
        );
        assert_eq!(
            store.tenants_after("one", 1).await.expect(fresh.kind).len(),
            1
        );
    }
}

fn signing_key(name: &str, ordinal: i64, signs_from: i64) -> StoredSigningKey {
    StoredSigningKey {
        key_id: name.to_owned(),
        ordinal,
        signs_from: at(signs_from),
        ..beginning().signing_key
    }
}

#[tokio::test]
async fn of_two_replicas_that_make_the_next_signing_key_one_does() {
    for (store, fresh) in each_store().await {
        store.begin(&beginning()).await.expect(fresh.kind);
        let (one, other) = (signing_key("one", 2, 20), signing_key("other", 2, 21));
        let (one, other) = tokio::join!(store.add_signing_key(&one), store.add_signing_key(&other));
        let (one, other) = (one.expect(fresh.kind), other.expect(fresh.kind));
        assert_ne!(one, other, "{}", fresh.kind);
        let keys = store.signing_keys().await.expect(fresh.kind);
        assert_eq!(keys.len(), 2, "{}", fresh.kind);
        let winner = if one {
            ("one", at(20))
        } else {
            ("other", at(21))
        };
        assert_eq!((keys[1].key_id.as_str(), keys[1].signs_from), winner);
    }
}

#[tokio::test]
async fn a_signing_key_is_replaced_by_one_that_does_not_sign_yet_or_not_at_all() {
    for (store, fresh) in each_store().await {
        store.begin(&beginning()).await.expect(fresh.kind);
        let next = signing_key("next", 2, 20);
        assert!(store.add_signing_key(&next).await.expect(fresh.kind));
        for (old, upcoming, now) in [
            ("k", "nobody", 15),
            ("k", "next", 20),
            ("nobody", "next", 15),
        ] {
            let replaced = store.replace_signing_key(old, upcoming, at(now)).await;
            assert!(!replaced.expect(fresh.kind), "{old} {upcoming} {now}");
            let keys = store.signing_keys().await.expect(fresh.kind);
            assert_eq!((keys.len(), keys[1].signs_from), (2, at(20)));
        }
        let replaced = store.replace_signing_key("k", "next", at(15)).await;
        assert!(replaced.expect(fresh.kind));
        let keys = store.signing_keys().await.expect(fresh.kind);
        assert_eq!((keys.len(), keys[0].signs_from), (1, at(15)));
        assert!(store.drop_signing_key("next").await.expect(fresh.kind));
        assert!(!store.drop_signing_key("next").await.expect(fresh.kind));
    }
}

#[tokio::test]
async fn a_replica_reads_which_grants_have_changed() {
    for (store, fresh) in each_store().await {
        store.begin(&beginning()).await.expect(fresh.kind);
        let acme = tenant("acme");
        let names = |tenants: Vec<StoredTenant>| -> Vec<String> {
            tenants
                .iter()
                .map(|tenant| tenant.tenant.to_string())
                .collect()
        };
        let changed = async |since: i64| {
            let page = store.tenants_changed_since(at(since), "", 10).await;
            names(page.expect(fresh.kind))
        };
        assert_eq!(changed(0).await, ["acme"]);
        let set = store
            .set_granted(&acme.tenant, &Operations::none(), at(1_000))
            .await;
        let set = set.expect(fresh.kind).expect("a tenant");
        assert!(set.granted.is_empty());
        assert_eq!(changed(1_000).await, ["acme"]);
        assert!(changed(1_001).await.is_empty());
        let nobody = tenant("nobody").tenant;
        let set = store
            .set_granted(&nobody, &Operations::All, at(1_000))
            .await;
        assert_eq!(set.expect(fresh.kind), None);
    }
}
