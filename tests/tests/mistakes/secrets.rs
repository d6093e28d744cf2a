//! Secrets: keys that others can read, that are lost, or that are of something else.

use std::path::{Path, PathBuf};
use std::process::Command;

use sandgate_e2e::client::Client;
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

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.expect("start cp").success());
}

/// A home whose data directory is a copy from before a revocation.
async fn restored() -> Home {
    let home = initialised();
    let (data, backup) = (home.data(), home.path().join("backup"));
    copy(&data, &backup);
    let up = home.up(&[]);
    let admin = Client::new(&up.address, &up.key(), "a");
    admin.revoke_user("mallory").await.expect("a revocation");
    up.kill();
    std::fs::remove_dir_all(&data).expect("it is ours");
    copy(&backup, &data);
    home
}

#[tokio::test]
async fn a_copy_older_than_a_revocation_is_told_once_by_each_command_with_the_next_step() {
    for first in [
        &["run", "-c", "a", "--", "true"][..],
        &["up", "--listen", "127.0.0.1:0"],
        &["ls"],
    ] {
        let home = restored().await;
        let key = home.api_key();
        let file = key.display().to_string();
        for arguments in [
            first,
            &["run", "-c", "a", "--", "true"],
            &["up", "--listen", "127.0.0.1:0"],
            &["ls"],
            &["files", "a"],
            &["suspend", "a"],
            &["rm", "a"],
        ] {
            let output = home.sandgate(arguments).output().expect("start sandgate");
            let said = said(&output);
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
            for once in ["lost revocations", "API key", &file, "sandgate init"] {
                let times = said.matches(once).count();
                assert_eq!(times, 1, "{arguments:?}: {once}: {said}");
            }
        }
        std::fs::rename(&key, home.path().join("old-key")).expect("as told");
        let init = home.sandgate(["init"]).output().expect("start sandgate");
        assert!(init.status.success(), "as told: {}", said(&init));
        let ran = home.run("a", &["echo", "on"]);
        assert_eq!(ran.stdout, b"on\n", "as told: {}", said(&ran));
        let _up = home.up(&[]);
    }
}
