//! The mesh on Postgres instead of SQLite.

use std::process::Output;

use sandgate_e2e::mesh::Home;
use sandgate_testkit::{PostgresUrls, postgres_urls};

fn run(home: &Home, urls: &PostgresUrls, command: &[&str]) -> Output {
    let mut arguments = vec!["run", "--conversation", "story", "--"];
    arguments.extend_from_slice(command);
    home.sandgate(arguments)
        .env("SANDGATE_DATABASE_URL", &urls.user)
        .env("SANDGATE_DATABASE_OWNER_URL", &urls.owner)
        .output()
        .expect("start sandgate")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_conversation_is_in_postgres_and_nothing_of_it_in_files() {
    let Some(urls) = postgres_urls().await else {
        return;
    };
    let home = Home::new();
    let first = run(
        &home,
        &urls,
        &["/bin/sh", "-c", "echo hello > note; echo done"],
    );
    assert_eq!(first.stdout, b"done\n", "{}", said(&first));
    let second = run(&home, &urls, &["cat", "note"]);
    assert_eq!(second.stdout, b"hello\n", "{}", said(&second));
    let files = std::fs::read_dir(home.data()).expect("the data directory");
    let databases: Vec<_> = files
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| name.to_string_lossy().contains(".db"))
        .collect();
    assert!(databases.is_empty(), "{databases:?}");
}

#[tokio::test]
async fn a_role_that_owns_the_tables_is_refused_and_told_what_to_do() {
    let Some(urls) = postgres_urls().await else {
        return;
    };
    let home = Home::new();
    let same = PostgresUrls {
        user: urls.owner.clone(),
        owner: urls.owner,
    };
    let output = run(&home, &same, &["true"]);
    assert!(!output.status.success());
    assert!(
        said(&output).contains("give it a role of its own"),
        "{}",
        said(&output)
    );
}

#[tokio::test]
async fn a_data_directory_is_of_one_database_for_ever() {
    let Some(urls) = postgres_urls().await else {
        return;
    };
    let home = Home::new();
    let first = run(&home, &urls, &["true"]);
    assert!(first.status.success(), "{}", said(&first));
    let forgotten = home.sandgate(["ls"]).output().expect("start sandgate");
    assert_eq!(forgotten.status.code(), Some(1), "{}", said(&forgotten));
    for word in ["postgres://", "sqlite", "--database-url"] {
        assert!(
            said(&forgotten).contains(word),
            "{word}: {}",
            said(&forgotten)
        );
    }
    let again = run(&home, &urls, &["true"]);
    assert!(again.status.success(), "{}", said(&again));
}
