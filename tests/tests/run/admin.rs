//! `sandgate tenant`, `api-key`, `key` and `revoke`: what administrators do, by the command line alone.

use std::process::Output;

use sandgate_e2e::mesh::Home;

use crate::{stderr, stdout};

fn ask(home: &Home, arguments: &[&str]) -> Output {
    home.sandgate(arguments).output().expect("start sandgate")
}

/// The standard output of what has to succeed.
fn says(home: &Home, arguments: &[&str]) -> String {
    let output = ask(home, arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
}

/// The standard error of what has to fail.
fn refuses(home: &Home, arguments: &[&str]) -> String {
    let output = ask(home, arguments);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    stderr(&output)
}

#[test]
fn a_tenant_is_created_with_grants_that_change_later() {
    let home = Home::new();
    let _mesh = home.up(&[]);
    let create = [
        "tenant", "create", "acme", "--grant", "chat", "--grant", "lookup",
    ];
    assert_eq!(says(&home, &create), "tenant acme: granted chat,lookup\n");
    assert_eq!(says(&home, &create), "tenant acme: granted chat,lookup\n");
    let other = refuses(&home, &["tenant", "create", "acme", "--grant", "mail"]);
    assert!(other.contains("exists with other grants"), "{other}");
    let changed = says(&home, &["tenant", "grant", "acme", "lookup"]);
    assert_eq!(changed, "tenant acme: granted lookup\n");
    let list = says(&home, &["tenant", "list"]);
    assert!(
        list.lines()
            .any(|line| line.starts_with("acme ") && line.ends_with(" lookup"))
    );
    let nobody = refuses(&home, &["tenant", "grant", "nobody", "lookup"]);
    assert_eq!(nobody, "sandgate: the tenant does not exist\n");
}

#[test]
fn an_api_key_is_made_followed_and_revoked_and_its_secret_is_shown_once() {
    let home = Home::new();
    let _mesh = home.up(&[]);
    let made = ask(
        &home,
        &["api-key", "create", "--user", "bob", "--lifetime", "90d"],
    );
    let (secret, told) = (stdout(&made), stderr(&made));
    assert!(
        secret.starts_with("sgk_") && secret.lines().count() == 1,
        "{secret}"
    );
    assert!(
        !told.contains(secret.trim()),
        "the secret is on standard output alone"
    );
    let id = secret
        .trim_start_matches("sgk_")
        .get(..26)
        .expect("an id")
        .to_owned();
    let list = says(&home, &["api-key", "list"]);
    assert!(!list.contains(secret.trim()));
    let row = |list: &str| {
        let row = list.lines().find(|line| line.starts_with(&id));
        row.unwrap_or_else(|| panic!("{id} in {list}")).to_owned()
    };
    assert!(
        row(&list).contains("bob") && row(&list).contains("until "),
        "{list}"
    );
    let next = says(&home, &["api-key", "rotate", &id, "--overlap", "1h"]);
    assert!(next.starts_with("sgk_") && next != secret);
    assert!(row(&says(&home, &["api-key", "list"])).contains("until "));
    says(&home, &["api-key", "revoke", &id]);
    assert!(row(&says(&home, &["api-key", "list"])).contains("revoked "));
    let gone = refuses(&home, &["api-key", "rotate", &id]);
    assert_eq!(gone, "sandgate: there is no such API key\n");
    let short = refuses(&home, &["api-key", "create", "--lifetime", "1s"]);
    assert!(
        short.contains("lifetime must be between 1 minute and 3,650 days"),
        "{short}"
    );
}

#[test]
fn signing_keys_are_listed_and_the_next_one_is_published_ahead_of_its_time() {
    let home = Home::new();
    let _mesh = home.up(&[]);
    let states = |list: &str| -> Vec<String> {
        let rows = list.lines().skip(1);
        let words = rows.map(|row| row.split_whitespace().skip(1).take(2).collect::<Vec<_>>());
        words.map(|words| words.join(" ")).collect()
    };
    let list = says(&home, &["key", "list"]);
    assert_eq!(states(&list), ["eddsa active"]);
    let key = list
        .lines()
        .nth(1)
        .and_then(|row| row.split_whitespace().next());
    let key = key.expect("a key").to_owned();
    let alone = refuses(&home, &["key", "retire", &key]);
    assert!(alone.contains("rotate first"), "{alone}");
    let rotated = says(&home, &["key", "rotate", "--algorithm", "es256"]);
    assert_eq!(states(&rotated), ["eddsa active", "es256 upcoming"]);
    let left = says(&home, &["key", "retire", &key]);
    assert_eq!(states(&left), ["es256 active"]);
    // What begins from here on is signed by it, and gates know it.
    let ran = ask(&home, &["run", "-q", "-c", "after", "--", "echo", "signed"]);
    assert_eq!(stdout(&ran), "signed\n", "{}", stderr(&ran));
}

#[test]
fn a_revocation_names_what_it_is_of_and_ends_it() {
    let home = Home::new();
    let _mesh = home.up(&[]);
    let none = ask(&home, &["revoke"]);
    assert_eq!(none.status.code(), Some(2), "{}", stdout(&none));
    let bad = refuses(&home, &["revoke", "--before", "yesterday"]);
    assert!(bad.contains("--before must be now, or an instant"), "{bad}");
    let unnamed = refuses(&home, &["revoke", "--conversation", ".x"]);
    assert!(unnamed.contains("conversation must"), "{unnamed}");
    let revoked = ask(&home, &["revoke", "--conversation", "doomed"]);
    let said = stderr(&revoked);
    assert!(
        said.contains("gates that refuse it from now on: 1"),
        "{said}"
    );
    let ran = ask(&home, &["run", "-q", "-c", "doomed", "--", "true"]);
    assert!(!ran.status.success(), "a session of it cannot begin");
    let other = ask(&home, &["run", "-q", "-c", "spared", "--", "true"]);
    assert!(other.status.success(), "{}", stderr(&other));
}
