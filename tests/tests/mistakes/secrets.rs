//! Secrets: keys that others can read, that are lost, or that are of something else.

use std::path::PathBuf;

use sandgate_e2e::mesh::Home;

use super::{chmod, initialised, is_refused, said, state};

fn master_key(home: &Home) -> PathBuf {
    let folder = std::fs::read_dir(home.path().join(".config/sandgate")).expect("it was made");
    folder
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.extension().is_some_and(|ending| ending == "key"))
        .expect("a master key")
}

#[test]
fn secrets_that_others_can_read_stop_the_start() {
    let home = initialised();
    let key = master_key(&home);
    for secret in [&key, &home.api_key()] {
        chmod(secret, 0o644);
        let before = state(&home);
        let name = secret.display().to_string();
        is_refused(
            &home,
            &["up", "--listen", "127.0.0.1:0"],
            &[&name, "chmod 600"],
        );
        is_refused(&home, &["ls"], &[&name, "chmod 600"]);
        assert!(state(&home) == before, "nothing was written");
        chmod(secret, 0o600);
    }
    chmod(&home.data(), 0o755);
    let data = home.data().display().to_string();
    is_refused(&home, &["ls"], &[&data, "chmod 700"]);
    chmod(&home.data(), 0o700);
    let listed = home.sandgate(["ls"]).output().expect("start sandgate");
    assert!(listed.status.success(), "as told: {}", said(&listed));
}

#[test]
fn a_master_key_that_is_missing_beside_its_database_is_never_made_anew() {
    let home = initialised();
    let key = master_key(&home);
    let content = std::fs::read(&key).expect("the key");
    std::fs::remove_file(&key).expect("it is ours");
    let before = state(&home);
    let name = key.display().to_string();
    for arguments in [
        &["up", "--listen", "127.0.0.1:0"][..],
        &["run", "-c", "a", "--", "true"],
        &["init"],
    ] {
        is_refused(&home, arguments, &[&name, "not empty", "restore"]);
        let output = home.sandgate(arguments).output().expect("start sandgate");
        let said = said(&output);
        assert!(!said.contains("--master-key-file"), "no such flag: {said}");
    }
    assert!(state(&home) == before, "nothing was written");
    std::fs::write(&key, content).expect("a file");
    chmod(&key, 0o600);
    let listed = home.sandgate(["ls"]).output().expect("start sandgate");
    assert!(listed.status.success(), "as told: {}", said(&listed));
}

#[test]
fn a_lost_api_key_is_told_with_the_next_step() {
    let home = initialised();
    std::fs::remove_file(home.api_key()).expect("it is ours");
    let key = home.api_key().display().to_string();
    is_refused(&home, &["init"], &[&key, "restore", "CreateApiKey"]);
    is_refused(&home, &["ls"], &[&key, "restore", "CreateApiKey"]);
}

#[test]
fn an_api_key_that_this_mesh_did_not_make_is_told_by_its_file_with_the_next_step() {
    let home = initialised();
    let of_another = std::fs::read(initialised().api_key()).expect("its key");
    let file = home.api_key().display().to_string();
    let words = [
        file.as_str(),
        "unknown, wrong or revoked",
        "restore",
        "CreateApiKey",
    ];
    let up = home.up(&[]);
    for key in [&of_another[..], b"no key at all"] {
        std::fs::write(home.api_key(), key).expect("a file");
        for arguments in [
            &["ls"][..],
            &["run", "-c", "a", "--", "true"],
            &["files", "a"],
            &["suspend", "a"],
        ] {
            is_refused(&home, arguments, &words);
        }
    }
    drop(up);
}
