//! Fresh databases: a SQLite file in a folder of its own, and a Postgres database with a role of its own.

use rand::Rng as _;
use sandgate_db::{Admin, Database, DatabaseUrl, Migrations};
use sandgate_types::Timestamp;
use tempfile::TempDir;

use crate::config;

/// A database that one test has for itself.
#[derive(Debug)]
pub struct Fresh {
    /// Open, with the schema that was asked for.
    pub database: Database,
    /// Where it is, for whoever opens it again.
    pub url: DatabaseUrl,
    /// `sqlite` or `postgres`, for messages.
    pub kind: &'static str,
    _folder: Option<TempDir>,
}

/// A fresh SQLite database.
pub async fn sqlite(migrations: &Migrations) -> Fresh {
    let folder = tempfile::tempdir().expect("a folder for the database");
    let url = DatabaseUrl::sqlite(folder.path().join("test.db"));
    let database = migrated(&url, migrations).await;
    Fresh {
        database,
        url,
        kind: "sqlite",
        _folder: Some(folder),
    }
}

/// The URLs of a fresh Postgres database, for programs that are told them.
#[derive(Debug, Clone)]
pub struct PostgresUrls {
    /// As the role of the services.
    pub user: String,
    /// As the role that migrates.
    pub owner: String,
}

/// A fresh Postgres database and a role that may use it and nothing else. `None` where the test run has no
/// Postgres; that is told loudly, and in CI it is a failure.
#[expect(
    clippy::print_stdout,
    reason = "a skip is told to whoever reads the output of the tests"
)]
pub async fn postgres_urls() -> Option<PostgresUrls> {
    let Some(server) = config::postgres() else {
        assert!(
            !config::is_ci(),
            "set SANDGATE_TEST_POSTGRES: in CI a skip is a failure"
        );
        println!("SKIPPED on Postgres: SANDGATE_TEST_POSTGRES is not set (run `cargo xtask test`)");
        return None;
    };
    let (admin, place) = server
        .strip_prefix("postgres://")
        .and_then(|rest| rest.split_once('@'))
        .and_then(|(admin, rest)| Some((admin, rest.split_once('/')?.0)))
        .expect("postgres://<role>@<host>:<port>/<database>");
    let name = format!("t{:032x}", rand::rng().random::<u128>());
    Admin::connect(&format!("{server}?sslmode=disable"))
        .await
        .expect("the Postgres of the test run")
        .create(&name)
        .await
        .expect("a database and its role");
    Some(PostgresUrls {
        user: format!("postgres://{name}:{name}@{place}/{name}?sslmode=disable"),
        owner: format!("postgres://{admin}@{place}/{name}?sslmode=disable"),
    })
}

/// A fresh Postgres database, whose schema belongs to another role than the one that uses it, as in production;
/// `None` as [`postgres_urls`] has it.
pub async fn postgres(migrations: &Migrations) -> Option<Fresh> {
    let urls = postgres_urls().await?;
    let [user, owner]: [DatabaseUrl; 2] =
        [urls.user, urls.owner].map(|url| url.parse().expect("a URL of Postgres"));
    let url = user.migrated_by(owner).expect("both are Postgres");
    let database = migrated(&url, migrations).await;
    Some(Fresh {
        database,
        url,
        kind: "postgres",
        _folder: None,
    })
}

/// One of each kind that the test run has: what a contract suite runs on.
pub async fn each_database(migrations: &Migrations) -> Vec<Fresh> {
    let mut all = vec![sqlite(migrations).await];
    all.extend(postgres(migrations).await);
    all
}

async fn migrated(url: &DatabaseUrl, migrations: &Migrations) -> Database {
    migrations
        .run(url, Timestamp::EPOCH)
        .await
        .expect("migrations");
    Database::open(url, migrations)
        .await
        .expect("an open database")
}
