//! What stores rely on, on SQLite.

use sandgate_db::{Database, DatabaseUrl, Migration, Migrations, OpenError, params};
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
const NOW: Timestamp = Timestamp::EPOCH;
const ADD: &str = "INSERT INTO things (tenant, name, size, body, gone) VALUES ($1, $2, $3, $4, $5)";

fn url(folder: &tempfile::TempDir) -> DatabaseUrl {
    DatabaseUrl::sqlite(folder.path().join("things.db"))
}

async fn opened(folder: &tempfile::TempDir) -> Database {
    FIRST.run(&url(folder), NOW).await.expect("migrate");
    Database::open(&url(folder), &FIRST).await.expect("open")
}

#[tokio::test]
async fn what_was_written_is_read_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = opened(&folder).await;
    database
        .execute(ADD, params!["t", "n", 7, vec![0u8, 255], None::<i64>])
        .await
        .expect("write");
    let row = database
        .fetch_one("SELECT * FROM things WHERE tenant = $1", params!["t"])
        .await
        .expect("read");
    assert_eq!(row.text("name").expect("name"), "n");
    assert_eq!(
        row.get::<Timestamp>("size").expect("size"),
        Timestamp::from_micros(7)
    );
    assert_eq!(row.bytes("body").expect("body"), [0, 255]);
    assert_eq!(row.get::<Option<i64>>("gone").expect("gone"), None);
    assert_eq!(
        row.get::<Option<Vec<u8>>>("body").expect("body"),
        Some(vec![0, 255])
    );
}

#[tokio::test]
async fn a_violation_is_known_by_the_name_that_postgres_gives() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = opened(&folder).await;
    let add = |name: &'static str, size: i64| {
        let database = database.clone();
        async move {
            database
                .execute(ADD, params!["t", name, size, Vec::new(), None::<i64>])
                .await
        }
    };
    add("a", 1).await.expect("the first");
    let twice = add("a", 2).await.expect_err("the same key");
    assert!(
        twice.is_unique_violation_on("things_pkey") && !twice.is_unique_violation_on("things_live")
    );
    assert!(!twice.is_transient());
    let live = add("b", 1).await.expect_err("the same size");
    assert!(
        live.is_unique_violation_on("things_live") && !live.is_unique_violation_on("things_pkey")
    );
    let counter = "INSERT INTO counters (id, word) VALUES ($1, $2)";
    database
        .execute(counter, params![1, "x"])
        .await
        .expect("a counter");
    let id = database
        .execute(counter, params![1, "y"])
        .await
        .expect_err("its id again");
    assert!(id.is_unique_violation_on("counters_pkey"));
    let word = database
        .execute(counter, params![2, "x"])
        .await
        .expect_err("its word again");
    assert!(word.is_unique_violation_on("counters_word_key"));
}

#[tokio::test]
async fn a_transaction_that_is_dropped_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = opened(&folder).await;
    let mut write = database.begin_write().await.expect("begin");
    write
        .execute(ADD, params!["t", "n", 1, Vec::new(), None::<i64>])
        .await
        .expect("write");
    drop(write);
    let row = database
        .fetch_one("SELECT COUNT(*) AS n FROM things", &[])
        .await
        .expect("count");
    assert_eq!(row.integer("n").expect("n"), 0);
}

#[tokio::test]
async fn writers_take_turns_and_lose_no_update() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = opened(&folder).await;
    database
        .execute("INSERT INTO counters (id) VALUES (0)", &[])
        .await
        .expect("seed");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let database = database.clone();
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
    let row = database
        .fetch_one("SELECT MAX(id) AS id FROM counters", &[])
        .await
        .expect("read");
    assert_eq!(row.integer("id").expect("id"), 16);
}

#[tokio::test]
async fn a_reader_cannot_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = opened(&folder).await;
    database
        .fetch_all("INSERT INTO counters (id) VALUES (1)", &[])
        .await
        .expect_err("readers are read only");
}

#[tokio::test]
async fn another_schema_is_refused_by_number_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = Database::open(&url(&folder), &FIRST)
        .await
        .expect_err("nothing is there");
    assert!(matches!(missing, OpenError::Missing { .. }) && missing.may_pass());
    assert!(missing.to_string().contains("sandgate init"));
    assert!(
        !folder.path().join("things.db").exists(),
        "a start creates nothing"
    );

    FIRST.run(&url(&folder), NOW).await.expect("migrate");
    let older = Database::open(&url(&folder), &SECOND)
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
        "{older}"
    );
    SECOND.run(&url(&folder), NOW).await.expect("migrate on");
    SECOND.run(&url(&folder), NOW).await.expect("migrate again");
    let newer = Database::open(&url(&folder), &FIRST)
        .await
        .expect_err("newer");
    assert!(
        matches!(
            newer,
            OpenError::Newer {
                found: 2,
                needed: 1,
                ..
            }
        ),
        "{newer}"
    );
    let newer = FIRST.run(&url(&folder), NOW).await.expect_err("newer");
    assert!(
        matches!(
            newer,
            OpenError::Newer {
                found: 2,
                needed: 1,
                ..
            }
        ),
        "{newer}"
    );
}

#[tokio::test]
async fn migrations_at_the_same_time_run_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let url = url(&folder);
        tasks.spawn(async move { SECOND.run(&url, NOW).await });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("joined").expect("migrated");
    }
    Database::open(&url(&folder), &SECOND).await.expect("open");
}

#[tokio::test]
async fn only_its_user_can_read_the_file() {
    use std::os::unix::fs::MetadataExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let _database = opened(&folder).await;
    for entry in std::fs::read_dir(folder.path()).expect("list") {
        let entry = entry.expect("an entry");
        let mode = entry.metadata().expect("facts").mode();
        assert_eq!(mode & 0o077, 0, "{:?} is open to others", entry.path());
    }
}
