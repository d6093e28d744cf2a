//! What stores rely on holds on each kind of database.

use sandgate_db::{Database, Migration, Migrations, OpenError, params};
use sandgate_testkit::{each_database, postgres};
use sandgate_types::Timestamp;

const ONE: Migration = Migration::same(
    1,
    "first",
    "CREATE TABLE things (tenant TEXT NOT NULL, name TEXT NOT NULL, size BIGINT, body BYTEA, gone BIGINT,
        PRIMARY KEY (tenant, name));
     CREATE TABLE counters (id BIGINT PRIMARY KEY, word TEXT UNIQUE);
     CREATE UNIQUE INDEX things_live ON things (tenant, size) WHERE gone IS NULL;",
);
const TWO: Migration = Migration::same(2, "second", "CREATE TABLE more (id BIGINT PRIMARY KEY);");
const FIRST: Migrations = Migrations {
    service: "things",
    steps: &[ONE],
};
const SECOND: Migrations = Migrations {
    service: "things",
    steps: &[ONE, TWO],
};
const OTHER: Migration = Migration::same(1, "other", "");
const FOREIGN: Migrations = Migrations {
    service: "things",
    steps: &[OTHER, TWO],
};
const ADD: &str = "INSERT INTO things (tenant, name, size, body, gone) VALUES ($1, $2, $3, $4, $5)";

#[tokio::test]
async fn values_and_nulls_come_back_as_they_went() {
    for fresh in each_database(&FIRST).await {
        let database = &fresh.database;
        database
            .execute(ADD, params!["t", "n", 7, vec![0u8, 255], None::<i64>])
            .await
            .expect(fresh.kind);
        database
            .execute(ADD, params!["t", "m", None::<i64>, None::<Vec<u8>>, 1])
            .await
            .expect(fresh.kind);
        let rows = database
            .fetch_all("SELECT * FROM things ORDER BY name DESC", &[])
            .await
            .expect(fresh.kind);
        assert_eq!(rows.len(), 2, "{}", fresh.kind);
        assert_eq!(
            rows[0].get::<Timestamp>("size").expect("size"),
            Timestamp::from_micros(7)
        );
        assert_eq!(rows[0].bytes("body").expect("body"), [0, 255]);
        assert!(rows[1].get::<bool>("gone").expect("gone"));
        assert_eq!(rows[1].get::<Option<Vec<u8>>>("body").expect("body"), None);
        rows[1].bytes("body").expect_err("NULL is not bytes");
    }
}

#[tokio::test]
async fn a_violated_constraint_has_one_name_everywhere() {
    for fresh in each_database(&FIRST).await {
        let database = &fresh.database;
        database
            .execute(ADD, params!["t", "a", 1, Vec::new(), None::<i64>])
            .await
            .expect(fresh.kind);
        let key = database
            .execute(ADD, params!["t", "a", 2, Vec::new(), None::<i64>])
            .await
            .expect_err("key");
        assert!(
            key.is_unique_violation_on("things_pkey") && !key.is_transient(),
            "{}",
            fresh.kind
        );
        let live = database
            .execute(ADD, params!["t", "b", 1, Vec::new(), None::<i64>])
            .await
            .expect_err("live");
        assert!(live.is_unique_violation_on("things_live"), "{}", fresh.kind);
        database
            .execute(ADD, params!["t", "b", 1, Vec::new(), 5])
            .await
            .expect("one that is gone");
        let word = "INSERT INTO counters (id, word) VALUES ($1, $2)";
        database
            .execute(word, params![1, "x"])
            .await
            .expect(fresh.kind);
        let word = database
            .execute(word, params![2, "x"])
            .await
            .expect_err("word");
        assert!(
            word.is_unique_violation_on("counters_word_key"),
            "{}",
            fresh.kind
        );
    }
}

#[tokio::test]
async fn writers_of_two_processes_take_turns() {
    for fresh in each_database(&FIRST).await {
        let second = Database::open(&fresh.url, &FIRST)
            .await
            .expect("another process");
        fresh
            .database
            .execute("INSERT INTO counters (id) VALUES (0)", &[])
            .await
            .expect("seed");
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..16 {
            let database = if number % 2 == 0 {
                second.clone()
            } else {
                fresh.database.clone()
            };
            tasks.spawn(async move {
                let mut write = database.begin_write().await.expect("begin");
                let row = write
                    .fetch_one("SELECT MAX(id) AS id FROM counters", &[])
                    .await
                    .expect("read");
                let next = row.integer("id").expect("id") + 1;
                write
                    .execute("INSERT INTO counters (id) VALUES ($1)", params![next])
                    .await
                    .expect("write");
                write.commit().await.expect("commit");
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.expect("no writer fails");
        }
        let row = fresh
            .database
            .fetch_one("SELECT MAX(id) AS id FROM counters", &[])
            .await
            .expect("read");
        assert_eq!(row.integer("id").expect("id"), 16, "{}", fresh.kind);
    }
}

#[tokio::test]
async fn a_read_sees_one_state() {
    for fresh in each_database(&FIRST).await {
        let mut read = fresh.database.begin_read().await.expect("begin");
        read.fetch_all("SELECT id FROM counters", &[])
            .await
            .expect("read");
        fresh
            .database
            .execute("INSERT INTO counters (id) VALUES (1)", &[])
            .await
            .expect("write");
        let seen = read
            .fetch_all("SELECT id FROM counters", &[])
            .await
            .expect("read");
        assert!(seen.is_empty(), "{}", fresh.kind);
    }
}

#[tokio::test]
async fn another_schema_is_refused_by_number() {
    for fresh in each_database(&FIRST).await {
        let older = Database::open(&fresh.url, &SECOND)
            .await
            .expect_err("older");
        assert!(
            matches!(
                older,
                OpenError::Older {
                    found: 1,
                    needed: 2,
                    ..
                }
            ),
            "{}: {older}",
            fresh.kind
        );
        SECOND
            .run(&fresh.url, Timestamp::EPOCH)
            .await
            .expect("migrate");
        let newer = Database::open(&fresh.url, &FIRST).await.expect_err("newer");
        assert!(
            matches!(
                newer,
                OpenError::Newer {
                    found: 2,
                    needed: 1,
                    ..
                }
            ),
            "{}: {newer}",
            fresh.kind
        );
        let foreign = Database::open(&fresh.url, &FOREIGN)
            .await
            .expect_err("foreign");
        assert!(
            matches!(foreign, OpenError::Foreign { number: 1, .. }),
            "{}: {foreign}",
            fresh.kind
        );
    }
}

#[tokio::test]
async fn a_role_that_owns_its_tables_is_refused() {
    let Some(fresh) = postgres(&FIRST).await else {
        return;
    };
    let owner = fresh.url.owner().expect("the owner's url");
    let refused = Database::open(&owner, &FIRST)
        .await
        .expect_err("too powerful");
    assert!(matches!(refused, OpenError::Powerful { .. }), "{refused}");
}
