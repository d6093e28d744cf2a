//! Files with names that terminals and shells stumble over, links, and files that are larger than the disk.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Output;

use sandgate_e2e::mesh::Home;

use super::{stderr, stdout};

/// `sandgate files demo`, or one of them.
fn files(home: &Home, path: Option<&[u8]>) -> Output {
    home.sandgate(["files", "demo"])
        .args(path.map(OsStr::from_bytes))
        .output()
        .expect("start sandgate")
}

/// The bytes of all files below a folder.
fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("a folder of ours");
    entries
        .map(|entry| {
            let entry = entry.expect("an entry");
            if entry.path().is_dir() {
                size_of(&entry.path())
            } else {
                entry.metadata().expect("it is ours").len()
            }
        })
        .sum()
}

#[test]
fn every_name_that_a_file_can_have_comes_back_as_it_was() {
    let home = Home::new();
    let _up = home.up(&[]);
    let script = r#"
        echo newline > "$(printf 'a\nb')"
        echo backslash > 'a\nb'
        echo longest > "$(printf '%0255d' 7)"
        echo bytes > "$(printf '\377\376x')"
        echo escape > "$(printf '\033[2J')"
        echo dash > ./-rf
        ls -1 --quoting-style=c | sort"#;
    let made = home.run("demo", &["/bin/sh", "-c", script]);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    let longest = format!("{:0255}", 7);
    let listed = files(&home, None);
    for (name, seen, content) in [
        (&b"a\nb"[..], "a\\nb", "newline\n"),
        (b"a\\nb", "a\\\\nb", "backslash\n"),
        (longest.as_bytes(), longest.as_str(), "longest\n"),
        (b"\xff\xfex", "\\xff\\xfex", "bytes\n"),
        (b"\x1b[2J", "\\u{1b}[2J", "escape\n"),
        (b"/workspace/-rf", "-rf", "dash\n"),
    ] {
        let read = files(&home, Some(name));
        assert_eq!(stdout(&read), content, "{}", stderr(&read));
        let line = format!("  {seen}");
        assert!(
            stdout(&listed).lines().any(|shown| shown.ends_with(&line)),
            "{seen:?}: {}",
            stdout(&listed)
        );
    }
    assert_eq!(stdout(&listed).lines().count(), 6, "{}", stdout(&listed));

    let suspended = home.sandgate(["suspend", "demo"]).output();
    assert!(suspended.expect("start sandgate").status.success());
    let again = home.run("demo", &["/bin/sh", "-c", "ls -1 --quoting-style=c | sort"]);
    assert_eq!(stdout(&again), stdout(&made), "{}", stderr(&again));
}

#[test]
fn a_name_that_is_no_path_below_the_workspace_or_no_text_is_refused() {
    let home = Home::new();
    let _up = home.up(&[]);
    let made = home.run("demo", &["/bin/sh", "-c", "echo kept > file"]);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    for path in ["../file", "a/../file", "./file", "/etc/passwd", ""] {
        let read = files(&home, Some(path.as_bytes()));
        assert_eq!(read.status.code(), Some(1), "{path:?}");
        assert!(stderr(&read).contains("path must"), "{}", stderr(&read));
    }
    let read = home
        .sandgate(["run", "-q", "-c", "demo", "--", "cat"])
        .arg(OsStr::from_bytes(b"\xff"))
        .output()
        .expect("start sandgate");
    assert_eq!(read.status.code(), Some(1));
    let told = stderr(&read);
    assert!(told.contains(r"the argument \xff is not UTF-8"), "{told}");
}

#[test]
fn a_link_out_of_the_workspace_stays_a_link_and_leads_nowhere_outside() {
    let home = Home::new();
    let _up = home.up(&[]);
    let secret = home.path().join("secret");
    std::fs::write(&secret, "words of the host\n").expect("a file");
    let target = secret.to_str().expect("a plain path");
    let script = format!("ln -s {target} out; ln -s / root; ln -s ../../../etc/passwd up; cat out");
    let made = home.run("demo", &["/bin/sh", "-c", &script]);
    assert_eq!(
        (made.status.code(), stdout(&made)),
        (Some(1), String::new())
    );
    let listed = stdout(&files(&home, None));
    for line in [
        format!("out -> {target}"),
        "root -> /".to_owned(),
        "up -> ../../../etc/passwd".to_owned(),
    ] {
        assert!(
            listed.lines().any(|shown| shown.ends_with(&line)),
            "{line}: {listed}"
        );
    }
    for path in ["out", "up", "root/etc/passwd", &format!("root{target}")] {
        let read = files(&home, Some(path.as_bytes()));
        assert_eq!(read.status.code(), Some(1), "{path}");
        assert_eq!(stdout(&read), "", "{path}");
        assert!(stderr(&read).contains(path), "{}", stderr(&read));
    }
    let suspended = home.sandgate(["suspend", "demo"]).output();
    assert!(suspended.expect("start sandgate").status.success());
    let again = home.run("demo", &["/bin/sh", "-c", "readlink out; echo mine > out"]);
    assert!(stdout(&again).starts_with(target), "{}", stderr(&again));
    let kept = std::fs::read_to_string(&secret).expect("it is there");
    assert_eq!(kept, "words of the host\n");
}

#[test]
fn a_file_of_five_gibibytes_that_is_a_hole_is_stored_as_one() {
    let home = Home::new();
    let made = home.run(
        "demo",
        &["/bin/sh", "-c", "truncate -s 5G hole; printf end >> hole"],
    );
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    assert!(
        stderr(&made).contains("files stored as version"),
        "{}",
        stderr(&made)
    );
    let size = 5 * 1024 * 1024 * 1024_u64 + 3;
    assert_eq!(stdout(&files(&home, None)), format!("{size:>12}  hole\n"));
    assert!(size_of(&home.data().join("objects")) < 1024 * 1024);
    let look = "stat -c %s hole; tail -c 3 hole; [ $(du -k hole | cut -f 1) -lt 1024 ]";
    let again = home.run("demo", &["/bin/sh", "-c", look]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert_eq!(stdout(&again), format!("{size}\nend"));
}
