//! The data directory: what is in it already, and who serves from it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sandgate_e2e::mesh::Home;

use super::{chmod, initialised, is_refused, said, state};

#[test]
fn a_data_directory_of_a_newer_version_is_refused_untouched() {
    let home = initialised();
    std::fs::write(home.data().join("version"), "2\n").expect("a file");
    let before = state(&home);
    let data = home.data().display().to_string();
    for arguments in [
        &["up", "--listen", "127.0.0.1:0"][..],
        &["run", "-c", "a", "--", "true"],
        &["init"],
        &["ls"],
    ] {
        is_refused(
            &home,
            arguments,
            &[&data, "newer", "upgrade sandgate", "--data-dir"],
        );
    }
    assert!(state(&home) == before, "nothing was written");
}

#[test]
fn a_folder_of_something_else_is_refused_untouched() {
    let home = Home::new();
    std::fs::create_dir(home.data()).expect("a folder");
    chmod(&home.data(), 0o700);
    std::fs::write(home.data().join("thesis.txt"), "words").expect("a file");
    let before = state(&home);
    let data = home.data().display().to_string();
    is_refused(&home, &["ls"], &[&data, "not empty", "--data-dir"]);
    assert!(state(&home) == before, "nothing was written");
}

#[test]
fn a_question_where_no_mesh_was_set_up_is_refused_and_leaves_nothing() {
    let home = Home::new();
    let (missing, empty) = (home.path().join("typo/deep"), home.path().join("empty"));
    std::fs::create_dir(&empty).expect("a folder");
    // A mesh that could not be begun is none either.
    let begun = home.path().join("begun");
    let up = home
        .sandgate(["up", "--listen", "nowhere", "--data-dir"])
        .arg(&begun)
        .output()
        .expect("start sandgate");
    assert!(!up.status.success(), "{}", said(&up));
    let before = names(home.path());
    for path in [missing, empty, begun] {
        let data = path.display().to_string();
        for question in [
            &["ls"][..],
            &["files", "a"],
            &["files", "a", "f"],
            &["suspend", "a"],
            &["rm", "a"],
        ] {
            let mut command = home.sandgate(question);
            let output = command.arg("--data-dir").arg(&path).output();
            let output = output.expect("start sandgate");
            let said = said(&output);
            assert_eq!(output.status.code(), Some(2), "{question:?}: {said}");
            for word in [
                &data,
                "no mesh was set up",
                "`sandgate run`, `up` or `init`",
            ] {
                assert!(said.contains(word), "{question:?}: {word}: {said}");
            }
            assert!(output.stdout.is_empty(), "{question:?}: {said}");
        }
    }
    assert_eq!(names(home.path()), before, "nothing was made");
    let ran = home.run("a", &["true"]);
    assert!(ran.status.success(), "as told: {}", said(&ran));
    let listed = home.sandgate(["ls"]).output().expect("start sandgate");
    assert!(listed.status.success(), "as told: {}", said(&listed));
}

/// The paths of everything below a folder.
fn names(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        if entry.file_type().expect("a kind").is_dir() {
            found.append(&mut names(&entry.path()));
        }
        found.insert(entry.path());
    }
    found
}

#[test]
fn a_second_mesh_is_refused_by_the_number_of_the_first_and_a_run_becomes_its_client() {
    let home = Home::new();
    let up = home.up(&[]);
    let pid = up.pid().to_string();
    is_refused(
        &home,
        &["up", "--listen", "127.0.0.1:0"],
        &[&pid, "in use", "sandgate run"],
    );
    is_refused(&home, &["init"], &[&pid, "in use"]);
    let ran = home.run("shared", &["echo", "done"]);
    assert_eq!(ran.stdout, b"done\n", "{}", said(&ran));
}

#[test]
fn what_sets_a_mesh_up_is_refused_while_another_runs_and_welcome_where_it_is_the_same() {
    let home = Home::new();
    let write = |name: &str, text: &str| {
        let file = home.path().join(name);
        std::fs::write(&file, text).expect("a file");
        file.display().to_string()
    };
    let policy = write("policy.yaml", "version: 1\nroutes: []\n");
    let templates = write(
        "templates.yaml",
        "version: 1\ntemplates:\n  - name: default\n",
    );
    let up = home.up(&["--policy", &policy]);
    assert!(up.printed.contains(&policy), "{}", up.printed);
    let pid = up.pid().to_string();
    let database = format!("sqlite:{}", home.path().join("other.db").display());
    for (flag, value) in [
        ("--policy", "nosuch.yaml"),
        ("--upstream-roots", &policy),
        ("--templates", &templates),
        (
            "--database-url",
            "postgres://me@127.0.0.1/x?sslmode=disable",
        ),
        ("--database-owner-url", &database),
    ] {
        is_refused(&home, &["ls", flag, value], &[flag]);
        is_refused(
            &home,
            &["run", flag, value, "-c", "a", "--", "true"],
            &[flag],
        );
    }
    is_refused(
        &home,
        &["ls", "--policy", "nosuch.yaml"],
        &[&pid, &policy, "sandgate up"],
    );
    let same = home
        .sandgate(["ls", "--policy", &policy])
        .output()
        .expect("start sandgate");
    assert!(same.status.success(), "{}", said(&same));
}
