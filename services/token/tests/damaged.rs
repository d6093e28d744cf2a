//! A database that lost a revocation: nothing is passed over, and nothing is served by what is left.

mod harness;

use harness::{Home, LIMIT, Token, mint_request, refused, revocation};
use sandgate_api::token::v1 as pb;
use sandgate_api::token::v1::revocation_target::Scope;
use sandgate_db::{Database, DatabaseUrl, Migration, Migrations, params};
use sandgate_rpc::Service;
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;

/// The schema, as whoever damages the database sees it.
const SCHEMA: Migrations = Migrations {
    service: "token",
    steps: &[
        Migration {
            number: 1,
            name: "begin",
            sqlite: include_str!("../migrations/sqlite/0001_begin.sql"),
            postgres: include_str!("../migrations/postgres/0001_begin.sql"),
        },
        Migration {
            number: 2,
            name: "rotate_signing_keys",
            sqlite: include_str!("../migrations/sqlite/0002_rotate_signing_keys.sql"),
            postgres: include_str!("../migrations/postgres/0002_rotate_signing_keys.sql"),
        },
        Migration {
            number: 3,
            name: "keys_that_expire",
            sqlite: include_str!("../migrations/sqlite/0003_keys_that_expire.sql"),
            postgres: include_str!("../migrations/postgres/0003_keys_that_expire.sql"),
        },
    ],
};
const REMOVE: &str = "DELETE FROM revocations WHERE sequence = $1";
const ADD_BEHIND_A_GAP: &str = "
    INSERT INTO revocations (sequence, kind, tenant, value, reason, revoked_by, revoked_at)
    SELECT sequence + 2, kind, tenant, 'somebody', reason, revoked_by, revoked_at FROM revocations
    WHERE sequence = $1";

async fn damage(home: &Home, sql: &'static str, sequence: i64) {
    let url = DatabaseUrl::sqlite(home.path("token.db"));
    let database = Database::open(&url, &SCHEMA).await.expect("the database");
    let changed = database.execute(sql, params![sequence]).await;
    assert_eq!(changed.expect("damaged"), 1);
    database.close().await;
}

fn user(name: &str) -> Scope {
    Scope::User(name.to_owned())
}

async fn with_revocations(names: &[&str]) -> Token {
    let token = Token::start().await;
    for name in names {
        token.revoke("default", user(name)).await;
    }
    token
}

async fn revoke(token: &Token, name: &str) -> Result<pb::RevokeResponse, Status> {
    let mut client = token.revocations(Service::Orchestrator);
    let answer = client.revoke(revocation("default", user(name))).await?;
    Ok(answer.into_inner())
}

/// Not ready, and neither tokens nor leases are given.
async fn assert_serves_nothing(token: &Token) {
    let not_ready = (Code::Unavailable, "NOT_READY".to_owned());
    let minted = token.mint(mint_request(&token.home.clock)).await;
    assert_eq!(refused(minted.map(drop)), not_ready);
    let request = pb::RenewLeaseRequest {
        gate_id: "g".to_owned(),
        ..Default::default()
    };
    let leased = token
        .revocations(Service::AuthGateway)
        .renew_lease(request)
        .await;
    assert_eq!(refused(leased), not_ready);
    let unhealthy = token.health_reaches(ServingStatus::NotServing);
    tokio::time::timeout(LIMIT, unhealthy)
        .await
        .expect("not ready in time");
}

#[tokio::test]
async fn a_start_that_finds_a_gap_ends_and_names_the_missing_revocation() {
    let mut token = with_revocations(&["a", "b", "c"]).await;
    token.end();
    token.ended().await.expect("a clean end");
    damage(&token.home, REMOVE, 2).await;
    let settings = token.home.config();
    let mut again = Token::spawn(token.home, settings);
    let text = again.ended().await.expect_err("refused").to_string();
    assert!(text.contains("revocation 2 is missing"), "{text}");
}

#[tokio::test]
async fn a_gap_that_appears_later_ends_all_serving() {
    let token = with_revocations(&["a"]).await;
    damage(&token.home, ADD_BEHIND_A_GAP, 1).await;
    assert_eq!(refused(revoke(&token, "b").await).1, "NOT_READY");
    assert_serves_nothing(&token).await;
}

#[tokio::test]
async fn a_number_that_was_given_before_is_not_given_again() {
    let token = with_revocations(&["a", "b"]).await;
    damage(&token.home, REMOVE, 2).await;
    assert_eq!(refused(revoke(&token, "c").await).1, "NOT_READY");
    assert_serves_nothing(&token).await;
}

#[tokio::test]
async fn a_gate_that_would_not_get_all_of_them_gets_an_error_and_no_silence() {
    for removed in [1, 2] {
        let token = with_revocations(&["a", "b"]).await;
        damage(&token.home, REMOVE, removed).await;
        let mut stream = token
            .revocations(Service::AuthGateway)
            .watch_revocations(pb::WatchRevocationsRequest::default())
            .await
            .expect("a stream")
            .into_inner();
        let to_the_end = async {
            loop {
                match stream.message().await {
                    Ok(Some(_)) => {}
                    other => return other,
                }
            }
        };
        let ended = tokio::time::timeout(LIMIT, to_the_end)
            .await
            .expect("in time");
        assert_eq!(refused(ended).1, "NOT_READY", "without {removed}");
        assert_serves_nothing(&token).await;
    }
}

#[tokio::test]
async fn a_newest_revocation_that_is_gone_is_noticed_without_a_call() {
    let token = with_revocations(&["a"]).await;
    damage(&token.home, REMOVE, 1).await;
    let unhealthy = token.health_reaches(ServingStatus::NotServing);
    tokio::time::timeout(LIMIT, unhealthy)
        .await
        .expect("not ready in time");
    assert_serves_nothing(&token).await;
}
