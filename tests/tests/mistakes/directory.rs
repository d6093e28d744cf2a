//! The data directory: what is in it already, and who serves from it.

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
